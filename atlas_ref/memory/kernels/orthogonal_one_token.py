"""One write under Newton-Schulz and one read of a token, by the kernels of a segment that has no other (`orthogonal`).

    S <- theta S + intake sum_a gamma_a r_a (A k_a - v_a) k_a^T,      M <- alpha M + release NS(S),      y = M q

The slots of the segment are the pairs of the token's window; those out of its sight hold nothing. A kernel of its own
lays them out: what begins with the token is told by its position, as in `layout`. The reference is `memory.one_token`;
there is no gradient, as decoding needs none.
"""

from functools import lru_cache

import torch
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from atlas_ref.memory.architecture import predict_with
from atlas_ref.memory.kernels.held import Held
from atlas_ref.memory.kernels.launching import compiled, dense, tile
from atlas_ref.memory.kernels.orthogonal import segment
from atlas_ref.memory.kernels.orthogonal_given import VALUE_BLOCK, Entering, Iteration, Momenta, Sizes
from atlas_ref.memory.rules import MemoryRule, WriteCoefficients


def orthogonal_one_token(
    rule: MemoryRule,
    position: Int[Tensor, " batch"],
    keys: Float[Tensor, "batch window heads features"],
    values: Float[Tensor, "batch window heads values"],
    queries: Float[Tensor, "batch 1 heads features"],
    write: WriteCoefficients,
    initial: Float[Tensor, "heads values features"],
    held: Held,
) -> tuple[Float[Tensor, "batch 1 heads values"], Held]:
    """Return the reads and what is held after the token, as `one_token.one_token` does without Newton-Schulz."""
    (initial,), before = dense(initial), dense(*held)
    batch, _, heads, _ = keys.shape
    given, entered = _laid(rule, position, keys, values, queries, write, initial, before)
    iteration, sizes = Iteration.of(rule, keys.device), Sizes.of(given)
    reads = given.queries.new_empty(*given.queries.shape[:-1], sizes.values)
    found, marks = Momenta.room(given, sizes, 1, iteration.kind), _no_marks(batch, keys.device)
    segment(0, iteration, given, sizes, initial, (marks, marks), found, reads, Held(*entered.unbind()))
    # Copied, so that what is held does not keep what entered alive.
    after = Held(*entered[:, 1].clone().unbind())
    if rule.read == "anchor":
        reads = predict_with(rule.architecture, (after.anchor,), given.queries)
    return reads.view(batch, 1, heads, sizes.values), after


@lru_cache(maxsize=8)
def _no_marks(batch: int, device: torch.device) -> Int[Tensor, "2 batch"]:
    """Return marks of a segment and of what would be behind it, of which none is left to begin: once for all calls."""
    # A constant that training may meet too, though decoding made it.
    with torch.inference_mode(False):
        return torch.zeros(2, batch, dtype=torch.int32, device=device)


def _laid(
    rule: MemoryRule,
    position: Tensor,
    keys: Tensor,
    values: Tensor,
    queries: Tensor,
    write: WriteCoefficients,
    initial: Tensor,
    before: tuple[Tensor, ...],
) -> tuple[Entering, Float[Tensor, "3 borders batch heads values features"]]:
    """Return the segment of the token, and M, S and the anchor that enter it, with room for what leaves it."""
    batch, window, heads, features = keys.shape
    width = values.shape[-1]
    near = dense(keys, values, write.window, write.retention, write.momentum, write.intake, write.release)
    here = 1, batch, heads
    slots, targets = keys.new_empty(*here, window, features), keys.new_empty(*here, window, width)
    shares, inside = keys.new_empty(2, *here, window)
    last, mix = keys.new_empty(*here, 2), keys.new_empty(*here, 2, 1)
    entered = keys.new_empty(3, 2, batch, heads, width, features)
    _lay[(batch * heads, -(-width // VALUE_BLOCK))](
        position.contiguous(),
        *near,
        initial,
        *before,
        *(slots, targets, shares, inside, last, mix, entered),
        rule.chunk,
        heads,
        *(window, features, width, tile(window), tile(features), VALUE_BLOCK),
        rule.boundary == "truncate",
        rule.normalised,
        rule.read == "post",
        num_warps=4,
    )
    decay = near[4].view(*here, 1)
    rows = (inside.unsqueeze(3), decay.unsqueeze(3), inside, decay, last, mix)
    (asked,) = dense(queries)
    return Entering(slots, targets, shares, asked.view(*here, 1, features), *rows), entered


@compiled
def _lay(
    positions: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    weights: tl.tensor,
    retention: tl.tensor,
    momentum: tl.tensor,
    intake: tl.tensor,
    release: tl.tensor,
    initial: tl.tensor,
    m_before: tl.tensor,
    s_before: tl.tensor,
    a_before: tl.tensor,
    slots: tl.tensor,
    targets: tl.tensor,
    shares: tl.tensor,
    inside: tl.tensor,
    last: tl.tensor,
    mix: tl.tensor,
    entered: tl.tensor,
    CHUNK: tl.tensor,
    HEADS: tl.tensor,
    WINDOW: tl.constexpr,
    FEATURES: tl.constexpr,
    VALUES: tl.constexpr,
    SLOT_TILE: tl.constexpr,
    FEATURE_TILE: tl.constexpr,
    VALUE_TILE: tl.constexpr,
    TRUNCATES: tl.constexpr,
    DIVIDES: tl.constexpr,
    AFTER: tl.constexpr,
) -> None:
    """Write what of the pairs, of S and of M is in S, in M and in the read, by a head and a block of values; `entered`
    are M, S and the anchor, and behind each what it becomes."""
    row = tl.program_id(0).to(tl.int64)
    b, h = row // HEADS, row % HEADS
    d, v = tl.arange(0, FEATURE_TILE), tl.program_id(1) * VALUE_TILE + tl.arange(0, VALUE_TILE)
    i, of_d, of_v = tl.arange(0, SLOT_TILE), d < FEATURES, v < VALUES
    position = tl.load(positions + b)
    age, oldest = WINDOW - 1 - i, position % CHUNK if TRUNCATES else position
    # What is out of sight is not read at all.
    there, seen = i < WINDOW, (i < WINDOW) & (age <= oldest)
    pair, slot = (b * WINDOW + i) * HEADS + h, row * WINDOW + i
    of_x = seen[:, None] & of_v[None, :]
    x = tl.load(values + pair[:, None] * VALUES + v[None, :], mask=of_x, other=0.0)
    tl.store(targets + slot[:, None] * VALUES + v[None, :], x, mask=there[:, None] & of_v[None, :])
    if tl.program_id(1) == 0:
        of_k = seen[:, None] & of_d[None, :]
        k = tl.load(keys + pair[:, None] * FEATURES + d[None, :], mask=of_k, other=0.0)
        tl.store(slots + slot[:, None] * FEATURES + d[None, :], k, mask=there[:, None] & of_d[None, :])
        tl.store(shares + slot, 1.0 / tl.maximum(tl.sum(k * k, 1), 1.0) if DIVIDES else 1.0, mask=there)
        gamma = tl.load(weights + row * WINDOW + age, mask=seen, other=0.0)
        tl.store(inside + slot, tl.load(intake + row) * gamma, mask=there)
        alpha, eta = tl.load(retention + row), tl.load(release + row)
        tl.store(last + 2 * row, eta)
        tl.store(last + 2 * row + 1, alpha)
        # Before its write a token reads what M was.
        tl.store(mix + 2 * row, eta if AFTER else 0.0)
        tl.store(mix + 2 * row + 1, alpha if AFTER else 1.0)
    matrix, size = v[:, None] * FEATURES + d[None, :], VALUES * FEATURES
    of_m = of_v[:, None] & of_d[None, :]
    part = 2 * tl.num_programs(0).to(tl.int64) * size
    first = tl.load(initial + h * size + matrix, mask=of_m, other=0.0)
    m = tl.where(position == 0, first, tl.load(m_before + row * size + matrix, mask=of_m, other=0.0))
    s = tl.where(position == 0, 0.0, tl.load(s_before + row * size + matrix, mask=of_m, other=0.0))
    a = tl.where(position % CHUNK == 0, m, tl.load(a_before + row * size + matrix, mask=of_m, other=0.0))
    tl.store(entered + row * size + matrix, m, mask=of_m)
    tl.store(entered + part + row * size + matrix, s, mask=of_m)
    tl.store(entered + 2 * part + row * size + matrix, a, mask=of_m)
