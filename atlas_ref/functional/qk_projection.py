"""Q-K projection: queries moved into the span of the keys that the memory was trained on.

TNT (arXiv 2511.07343) Eq. 7, with the sum running since the start of the document (decision `projection`).

Notation
    u_j       k_j/||k_j||, the direction of a key; zero for a zero key
    Pi_t      sum_{j<=t} u_j u_j^T over the tokens j of t's document; symmetric, positive semidefinite,
              trace = number of keys
    carry     Pi at the end of the previous call, of the document that was then open
    block     64 tokens computed together; Pi is formed only at block ends, so memory is linear in time

The block size is a schedule and never changes the result. Nothing renormalises Pi here: the projected query grows with
the number of keys along it. `frobenius_tanh` is the bounded form of one source system. Keys of another document count
for nothing even where they are infinite or NaN (`sight`).
"""

from typing import Final, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from atlas_ref.functional.gain import effective_gain
from atlas_ref.functional.normalize import at_least_float32, unit_vector
from atlas_ref.functional.sight import sees_bad, spoil, take_out_bad

BLOCK: Final = 64
NORM_EPS: Final = 1e-7


class _Blocks(NamedTuple):
    """A call cut into blocks: keys are directions, `same[.., t, j]` says that j <= t lies in t's document.

    Vectors that are not finite are zero here, and marked.
    """

    queries: Float[Tensor, "batch count heads size dim"]
    keys: Float[Tensor, "batch count heads size dim"]
    bad_queries: Bool[Tensor, "batch count heads size"]
    bad_keys: Bool[Tensor, "batch count heads size"]
    same: Bool[Tensor, "batch count 1 size size"]
    older: Bool[Tensor, "batch count 1 size 1"]
    """The document of this token began before its block, so the carry counts."""


def _cut(queries: Tensor, keys: Tensor, position: Int[Tensor, "batch time"]) -> _Blocks:
    """Cut time into blocks, filling the last with zero keys that continue the document, so that they change nothing."""
    time = keys.shape[1]
    size = min(BLOCK, time)
    fill = -time % size
    index = torch.arange(size, device=position.device)
    filled = torch.cat([position, position[:, -1:] + 1 + index[:fill]], dim=1).reshape(len(position), -1, size)
    age = index.unsqueeze(1) - index
    same = (age >= 0) & (age <= filled.unsqueeze(-1))
    older = filled > index

    def cut(x: Tensor) -> Tensor:
        blocks: Tensor = pad(x, (0, 0, 0, 0, 0, fill)).reshape(len(x), -1, size, *x.shape[2:])
        return blocks.transpose(2, 3)

    queries, bad_queries = take_out_bad(cut(queries))
    keys, bad_keys = take_out_bad(cut(keys))
    return _Blocks(
        queries, unit_vector(keys), bad_queries, bad_keys, same.unsqueeze(2), older.unsqueeze(2).unsqueeze(-1)
    )


def _carries(blocks: _Blocks, carry: Float[Tensor, "batch heads dim dim"]) -> list[Tensor]:
    """Return Pi at the start of every block and at the end of the last one."""
    of_last = blocks.same[:, :, :, -1]
    sums = blocks.keys.mT @ (blocks.keys * of_last.unsqueeze(-1).to(carry.dtype))
    sums = spoil(sums, (of_last & blocks.bad_keys).any(-1)[..., None, None])
    kept = blocks.older[:, :, :, -1:]
    carries = [carry]
    for block in range(sums.shape[1]):
        # Selected, not multiplied by zero: a closed document must not count whatever it holds.
        carries.append(torch.where(kept[:, block], carries[-1], 0.0) + sums[:, block])
    return carries


def _squared_norms(blocks: _Blocks, start: Tensor, overlaps: Tensor) -> Tensor:
    """Return ||Pi_t||_F^2 by ||Pi + u u^T||^2 = ||Pi||^2 + 2 u^T Pi u + ||u||^4, a sum of terms that are never
    negative.

    `start` is Pi at block starts, `overlaps` holds (u_t . u_j) for j <= t of the same document and zero elsewhere.
    """
    with_carry = (blocks.keys * (blocks.keys @ start)).sum(dim=-1, keepdim=True)
    squares = overlaps.square()
    # Row t of `squares` counts each earlier key once and u_t itself once; the cross terms count twice.
    own = squares.diagonal(dim1=-2, dim2=-1).unsqueeze(-1)
    increments = 2 * torch.where(blocks.older, with_carry, 0.0) + 2 * squares.sum(dim=-1, keepdim=True) - own
    before = start.square().sum(dim=(-2, -1)).unsqueeze(-1).unsqueeze(-1)
    return (blocks.same.to(start.dtype) @ increments + torch.where(blocks.older, before, 0.0)).squeeze(-1)


def qk_project(
    queries: Float[Tensor, "batch time heads dim"],
    keys: Float[Tensor, "batch time heads dim"],
    carry: Float[Tensor, "batch heads dim dim"],
    position: Int[Tensor, "batch time"],
) -> tuple[
    Float[Tensor, "batch time heads dim"], Float[Tensor, "batch heads dim dim"], Float[Tensor, "batch time heads"]
]:
    """Return (Pi_t q_t, Pi at the end, ||Pi_t||_F), with Pi_t = sum u_j u_j^T over t's document up to t itself (TNT Eq.
    7).

    Computed in the wider of float32 and the dtypes given; the projected queries have the dtype of `queries`, the state
    and the norm the computing dtype. Any split of a sequence into calls gives the same result. Differentiable.
    """
    dtype = torch.promote_types(at_least_float32(queries).dtype, at_least_float32(carry).dtype)
    batch, time, heads, _ = queries.shape
    carry = carry.to(dtype)
    if time == 0:
        return queries, carry, carry.new_zeros(batch, 0, heads)
    blocks = _cut(queries.to(dtype), keys.to(dtype), position)
    *starts, end = _carries(blocks, carry)
    start, bad_start = _usable(torch.stack(starts, dim=1))
    same = blocks.same.to(dtype)
    projected = torch.where(blocks.older, blocks.queries @ start.mT, 0.0)
    projected = projected + (blocks.queries @ blocks.keys.mT * same) @ blocks.keys
    squared = _squared_norms(blocks, start, blocks.keys @ blocks.keys.mT * same)
    # One under the root where Pi is zero: the root of zero has no finite gradient.
    norm = torch.where(squared > 0, squared, 1.0).sqrt() * (squared > 0)
    spoilt = sees_bad(blocks.same, blocks.bad_keys, dtype) | (blocks.older.squeeze(-1) & bad_start.unsqueeze(-1))
    projected = spoil(projected, (spoilt | blocks.bad_queries).unsqueeze(-1)).transpose(2, 3).flatten(1, 2)[:, :time]
    return projected.to(queries.dtype), end, spoil(norm, spoilt).transpose(2, 3).flatten(1, 2)[:, :time]


def _usable(start: Float[Tensor, "batch count heads dim dim"]) -> tuple[Tensor, Bool[Tensor, "batch count heads"]]:
    """Return Pi at the start of each block with zeros for those that are not finite, and which those were."""
    flat, bad = take_out_bad(start.flatten(-2))
    return flat.view_as(start), bad


def frobenius_tanh(
    projected: Float[Tensor, "batch time heads dim"],
    frobenius: Float[Tensor, "batch time heads"],
    log_gain: Float[Tensor, "*heads dim"],
    scale: Float[Tensor, "*heads dim"] | float,
) -> Float[Tensor, "batch time heads dim"]:
    """Bound a projected query: tanh(exp(log_gain) * Pi q/(||Pi||_F + 1e-7)) * scale, entry by entry (a source system's
    form).

    `log_gain` and `scale` hold one value an entry, shared by all heads or one for each. Computed in at least float32,
    returned in the dtype of `projected`.
    """
    wide = at_least_float32(projected)
    aligned = wide / (frobenius.to(wide.dtype).unsqueeze(-1) + NORM_EPS)
    return (torch.tanh(effective_gain(log_gain) * aligned) * scale).to(projected.dtype)
