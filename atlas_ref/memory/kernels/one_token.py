"""One write and one read of a token by one kernel, a program for each row, head and block of values.

    S <- theta S + intake sum_a gamma_a r_a (A k_a - v_a) k_a^T,      M <- alpha M + release S,      y = M q

with r_a what divides each gradient, over the pairs in sight of the token. What begins with the token is told by its
position, as in `layout`. The reference is `memory.one_token`; there is no gradient, as decoding needs none.
"""

from collections.abc import Callable

import torch
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from atlas_ref.functional.window import in_sight
from atlas_ref.memory.kernels.call import MemoryCall, Ran
from atlas_ref.memory.kernels.held import Held
from atlas_ref.memory.kernels.launching import compiled, dense, tile
from atlas_ref.memory.rules import MemoryRule, WriteCoefficients

TILE_OF_M = 1024
"""Numbers of M that a program holds: a row of a batch has few heads, and each program waits for memory."""
READS = {"pre": 0, "anchor": 1, "post": 2}


def run_alone(alone: Callable[..., tuple[Tensor, Held]], call: MemoryCall) -> Ran:
    """Run a call of one token by a kernel; squared errors are those of its window."""
    rule, plan, asked, write, start, state, measured = call
    keys, values = state.with_window(asked.keys, asked.values)
    position = plan.position[:, 0]
    reads, after = alone(rule, position, keys, values, asked.queries, write, start.initial[0], Held.of(state))
    errors = squared_errors(rule, position, keys, values, after.anchor) if measured else None
    return reads, after.carry(), errors


def squared_errors(rule: MemoryRule, position: Tensor, keys: Tensor, values: Tensor, anchor: Tensor) -> Tensor:
    """Return ||A k - v||^2 of the pairs in sight, 0 of the others, [1, batch, heads, window]."""
    missed = keys.transpose(1, 2) @ anchor.mT - values.transpose(1, 2)
    sight = in_sight(keys.shape[1], position, rule.chunk, rule.boundary).flip(-1)[:, None]
    squared: Tensor = torch.linalg.vecdot(missed, missed)
    return torch.where(sight, squared, 0.0).unsqueeze(0)


def one_token(
    rule: MemoryRule,
    position: Int[Tensor, " batch"],
    keys: Float[Tensor, "batch window heads features"],
    values: Float[Tensor, "batch window heads values"],
    queries: Float[Tensor, "batch 1 heads features"],
    write: WriteCoefficients,
    initial: Float[Tensor, "heads values features"],
    held: Held,
) -> tuple[Float[Tensor, "batch 1 heads values"], Held]:
    """Return the reads and what is held after the token, of a matrix that is written by descent of `l2` (derived);
    `held` is M, S and the anchor before it.

    Keys and values end with the token's own pair; `position` is its index in the document.
    """
    batch, window, heads, features = keys.shape
    width = values.shape[-1]
    near = dense(keys, values, queries, write.window, write.retention, write.momentum, write.intake, write.release)
    before = dense(initial, *held)
    reads = near[1].new_empty(batch, 1, heads, width)
    after = Held(*(torch.empty_like(x) for x in before[1:]))
    across = tile(features)
    block = min(tile(width), max(1, TILE_OF_M // across))
    grid = (batch * heads, -(-width // block))
    _one_token[grid](
        position.contiguous(),
        *near,
        *before,
        reads,
        *after,
        rule.chunk,
        heads,
        WINDOW=window,
        FEATURES=features,
        VALUES=width,
        FEATURE_TILE=across,
        VALUE_TILE=block,
        TRUNCATES=rule.boundary == "truncate",
        DIVIDES=rule.normalised,
        READ=READS[rule.read],
        num_warps=2,
    )
    return reads, after


@compiled
def _one_token(
    positions: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    queries: tl.tensor,
    weights: tl.tensor,
    retention: tl.tensor,
    momentum: tl.tensor,
    intake: tl.tensor,
    release: tl.tensor,
    initial: tl.tensor,
    m_before: tl.tensor,
    s_before: tl.tensor,
    a_before: tl.tensor,
    reads: tl.tensor,
    m_after: tl.tensor,
    s_after: tl.tensor,
    a_after: tl.tensor,
    CHUNK: tl.tensor,
    HEADS: tl.tensor,
    WINDOW: tl.constexpr,
    FEATURES: tl.constexpr,
    VALUES: tl.constexpr,
    FEATURE_TILE: tl.constexpr,
    VALUE_TILE: tl.constexpr,
    TRUNCATES: tl.constexpr,
    DIVIDES: tl.constexpr,
    READ: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    b, h = row // HEADS, row % HEADS
    d, v = tl.arange(0, FEATURE_TILE), tl.program_id(1) * VALUE_TILE + tl.arange(0, VALUE_TILE)
    of_d, of_v = d < FEATURES, v < VALUES
    matrix = v[:, None] * FEATURES + d[None, :]
    of_m = of_v[:, None] & of_d[None, :]
    size = VALUES * FEATURES
    position = tl.load(positions + b)
    first = tl.load(initial + h * size + matrix, mask=of_m, other=0.0)
    m = tl.where(position == 0, first, tl.load(m_before + row * size + matrix, mask=of_m, other=0.0))
    s = tl.where(position == 0, 0.0, tl.load(s_before + row * size + matrix, mask=of_m, other=0.0))
    a = tl.where(position % CHUNK == 0, m, tl.load(a_before + row * size + matrix, mask=of_m, other=0.0))
    oldest = position % CHUNK if TRUNCATES else position
    after = tl.load(momentum + row) * s
    for age in tl.static_range(WINDOW):
        pair = (b * WINDOW + WINDOW - 1 - age) * HEADS + h
        # What is out of sight is not read at all.
        seen = age <= oldest
        k = tl.load(keys + pair * FEATURES + d, mask=of_d & seen, other=0.0)
        x = tl.load(values + pair * VALUES + v, mask=of_v & seen, other=0.0)
        share = tl.load(intake + row) * tl.load(weights + row * WINDOW + age)
        if DIVIDES:
            share = share / tl.maximum(tl.sum(k * k, 0), 1.0)
        error = tl.sum(a * k[None, :], 1) - x
        after += (share * error)[:, None] * k[None, :]
    before = m
    m = tl.load(retention + row) * m + tl.load(release + row) * after
    q = tl.load(queries + row * FEATURES + d, mask=of_d, other=0.0)
    looked_at = before if READ == 0 else a if READ == 1 else m
    tl.store(reads + row * VALUES + v, tl.sum(looked_at * q[None, :], 1), mask=of_v)
    tl.store(m_after + row * size + matrix, m, mask=of_m)
    tl.store(s_after + row * size + matrix, after, mask=of_m)
    tl.store(a_after + row * size + matrix, a, mask=of_m)
