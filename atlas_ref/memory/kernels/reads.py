"""What the tokens of a segment read, a program for each segment, row and head.

    y_t = W[t, M] M q_t + W[t, S] S q_t + sum_i W[t, i] (k_i . q_t) e_i,      e = (K A^T - V) r

with M, S and A what the segment entered with (`chunk_scan`) and W its coordinates (`coordinates`); under `pre` token t
reads with row t - 1, which is that of M alone at the first. The reference is `linear._read_linear`. Features are gone
through in blocks, so that wide ones need no larger tiles.
"""

from typing import Any

import torch
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from atlas_ref.memory.kernels.chunk_scan import Entered
from atlas_ref.memory.kernels.coordinates import Mixing
from atlas_ref.memory.kernels.launching import LAUNCH, compiled, dense, precision, tile

FEATURE_BLOCK = 64
"""Features that a program holds at once."""


def reads(
    queries: Float[Tensor, "segments batch heads tokens features"],
    keys: Float[Tensor, "segments batch heads slots features"],
    values: Float[Tensor, "segments batch heads slots values"],
    shares: Float[Tensor, "segments batch heads slots"],
    mix: Mixing,
    entered: Entered,
    before: bool,
) -> Float[Tensor, "segments batch heads tokens values"]:
    """Return the reads of every token (derived); `before`: each of the memory before its own write."""
    found: Tensor = _Reads.apply(before, queries, keys, values, shares, *mix[:3], *entered)
    return found


@compiled
def _mixed(
    inside: tl.tensor,
    from_s: tl.tensor,
    from_m: tl.tensor,
    first: tl.tensor,
    t: tl.tensor,
    tokens: tl.tensor,
    i: tl.tensor,
    slots: tl.tensor,
    SLOTS: tl.constexpr,
) -> tl.tensor:
    """Return the rows of W that `t` names; row -1 is that of M alone. `first` is the place of row 0."""
    known = tokens & (t >= 0)
    rows = tl.load(inside + (first + t)[:, None] * SLOTS + i[None, :], mask=known[:, None] & slots[None, :], other=0.0)
    return rows, tl.load(from_s + first + t, mask=known, other=0.0), tl.load(from_m + first + t, mask=known, other=1.0)


@compiled
def _forward(
    queries: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    shares: tl.tensor,
    inside: tl.tensor,
    from_s: tl.tensor,
    from_m: tl.tensor,
    weights: tl.tensor,
    momentum: tl.tensor,
    anchors: tl.tensor,
    found: tl.tensor,
    TOKENS: tl.constexpr,
    SLOTS: tl.constexpr,
    FEATURES: tl.constexpr,
    VALUES: tl.constexpr,
    TOKEN_TILE: tl.constexpr,
    SLOT_TILE: tl.constexpr,
    BLOCK: tl.constexpr,
    VALUE_TILE: tl.constexpr,
    BEFORE: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    at = tl.program_id(0).to(tl.int64)
    t, i = tl.arange(0, TOKEN_TILE), tl.arange(0, SLOT_TILE)
    v = tl.arange(0, VALUE_TILE)
    tokens, slots, of_v = t < TOKENS, i < SLOTS, v < VALUES
    via_m = tl.zeros([TOKEN_TILE, VALUE_TILE], tl.float32)
    via_s = tl.zeros([TOKEN_TILE, VALUE_TILE], tl.float32)
    close = tl.zeros([TOKEN_TILE, SLOT_TILE], tl.float32)
    error = tl.zeros([SLOT_TILE, VALUE_TILE], tl.float32)
    for start in range(0, FEATURES, BLOCK):
        d = start + tl.arange(0, BLOCK)
        of_d = (d < FEATURES)[None, :]
        matrix = (at * VALUES + v)[:, None] * FEATURES + d[None, :]
        q = tl.load(
            queries + (at * TOKENS + t)[:, None] * FEATURES + d[None, :], mask=tokens[:, None] & of_d, other=0.0
        )
        k = tl.load(keys + (at * SLOTS + i)[:, None] * FEATURES + d[None, :], mask=slots[:, None] & of_d, other=0.0)
        m = tl.load(weights + matrix, mask=of_v[:, None] & of_d, other=0.0)
        s = tl.load(momentum + matrix, mask=of_v[:, None] & of_d, other=0.0)
        a = tl.load(anchors + matrix, mask=of_v[:, None] & of_d, other=0.0)
        via_m += tl.dot(q, tl.trans(m), input_precision=PRECISION)
        via_s += tl.dot(q, tl.trans(s), input_precision=PRECISION)
        close += tl.dot(q, tl.trans(k), input_precision=PRECISION)
        error += tl.dot(k, tl.trans(a), input_precision=PRECISION)
    x = tl.load(
        values + (at * SLOTS + i)[:, None] * VALUES + v[None, :], mask=slots[:, None] & of_v[None, :], other=0.0
    )
    error = (error - x) * tl.load(shares + at * SLOTS + i, mask=slots, other=0.0)[:, None]
    when = t - 1 if BEFORE else t
    rows, share_s, share_m = _mixed(inside, from_s, from_m, at * TOKENS, when, tokens, i, slots, SLOTS)
    y = share_m[:, None] * via_m + share_s[:, None] * via_s + tl.dot(close * rows, error, input_precision=PRECISION)
    tl.store(found + (at * TOKENS + t)[:, None] * VALUES + v[None, :], y, mask=tokens[:, None] & of_v[None, :])


@compiled
def _backward(
    queries: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    shares: tl.tensor,
    inside: tl.tensor,
    from_s: tl.tensor,
    from_m: tl.tensor,
    weights: tl.tensor,
    momentum: tl.tensor,
    anchors: tl.tensor,
    d_found: tl.tensor,
    d_queries: tl.tensor,
    d_keys: tl.tensor,
    d_values: tl.tensor,
    d_shares: tl.tensor,
    d_inside: tl.tensor,
    d_from_s: tl.tensor,
    d_from_m: tl.tensor,
    d_weights: tl.tensor,
    d_momentum: tl.tensor,
    d_anchors: tl.tensor,
    TOKENS: tl.constexpr,
    SLOTS: tl.constexpr,
    FEATURES: tl.constexpr,
    VALUES: tl.constexpr,
    TOKEN_TILE: tl.constexpr,
    SLOT_TILE: tl.constexpr,
    BLOCK: tl.constexpr,
    VALUE_TILE: tl.constexpr,
    BEFORE: tl.constexpr,
    ALWAYS: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    at = tl.program_id(0).to(tl.int64)
    t, i, v = tl.arange(0, TOKEN_TILE), tl.arange(0, SLOT_TILE), tl.arange(0, VALUE_TILE)
    tokens, slots, of_v = t < TOKENS, i < SLOTS, v < VALUES
    via_m = tl.zeros([TOKEN_TILE, VALUE_TILE], tl.float32)
    via_s = tl.zeros([TOKEN_TILE, VALUE_TILE], tl.float32)
    close = tl.zeros([TOKEN_TILE, SLOT_TILE], tl.float32)
    raw = tl.zeros([SLOT_TILE, VALUE_TILE], tl.float32)
    for start in range(0, FEATURES, BLOCK):
        d = start + tl.arange(0, BLOCK)
        of_d = (d < FEATURES)[None, :]
        matrix = (at * VALUES + v)[:, None] * FEATURES + d[None, :]
        q = tl.load(
            queries + (at * TOKENS + t)[:, None] * FEATURES + d[None, :], mask=tokens[:, None] & of_d, other=0.0
        )
        k = tl.load(keys + (at * SLOTS + i)[:, None] * FEATURES + d[None, :], mask=slots[:, None] & of_d, other=0.0)
        via_m += tl.dot(
            q, tl.trans(tl.load(weights + matrix, mask=of_v[:, None] & of_d, other=0.0)), input_precision=PRECISION
        )
        via_s += tl.dot(
            q, tl.trans(tl.load(momentum + matrix, mask=of_v[:, None] & of_d, other=0.0)), input_precision=PRECISION
        )
        close += tl.dot(q, tl.trans(k), input_precision=PRECISION)
        raw += tl.dot(
            k, tl.trans(tl.load(anchors + matrix, mask=of_v[:, None] & of_d, other=0.0)), input_precision=PRECISION
        )
    of_x = slots[:, None] & of_v[None, :]
    place_x = (at * SLOTS + i)[:, None] * VALUES + v[None, :]
    raw -= tl.load(values + place_x, mask=of_x, other=0.0)
    share = tl.load(shares + at * SLOTS + i, mask=slots, other=0.0)
    when = t - 1 if BEFORE else t
    rows, share_s, share_m = _mixed(inside, from_s, from_m, at * TOKENS, when, tokens, i, slots, SLOTS)
    d_y = tl.load(
        d_found + (at * TOKENS + t)[:, None] * VALUES + v[None, :], mask=tokens[:, None] & of_v[None, :], other=0.0
    )
    # Row t of W is read by token t, or under `pre` by the next; nobody reads the last row then.
    d_mixed = tl.dot(d_y, tl.trans(raw * share[:, None]), input_precision=PRECISION)
    known = tokens & (when >= 0)
    place_w = at * TOKENS + when
    tl.store(d_inside + place_w[:, None] * SLOTS + i[None, :], d_mixed * close, mask=known[:, None] & slots[None, :])
    tl.store(d_from_s + place_w, tl.sum(d_y * via_s, 1), mask=known)
    tl.store(d_from_m + place_w, tl.sum(d_y * via_m, 1), mask=known)
    d_error = tl.dot(tl.trans(close * rows), d_y, input_precision=PRECISION)
    d_raw = d_error * share[:, None]
    d_close = d_mixed * rows
    tl.store(d_values + place_x, -d_raw, mask=of_x)
    tl.store(d_shares + at * SLOTS + i, tl.sum(d_error * raw, 1), mask=slots)
    d_via_m, d_via_s = d_y * share_m[:, None], d_y * share_s[:, None]
    for start in range(0, FEATURES, BLOCK):
        d = start + tl.arange(0, BLOCK)
        of_d = (d < FEATURES)[None, :]
        matrix = (at * VALUES + v)[:, None] * FEATURES + d[None, :]
        of_m = of_v[:, None] & of_d
        place_q = (at * TOKENS + t)[:, None] * FEATURES + d[None, :]
        place_k = (at * SLOTS + i)[:, None] * FEATURES + d[None, :]
        q = tl.load(queries + place_q, mask=tokens[:, None] & of_d, other=0.0)
        k = tl.load(keys + place_k, mask=slots[:, None] & of_d, other=0.0)
        m = tl.load(weights + matrix, mask=of_m, other=0.0)
        s = tl.load(momentum + matrix, mask=of_m, other=0.0)
        a = tl.load(anchors + matrix, mask=of_m, other=0.0)
        d_q = tl.dot(d_via_m, m, input_precision=PRECISION) + tl.dot(d_via_s, s, input_precision=PRECISION)
        d_q += tl.dot(d_close, k, input_precision=PRECISION)
        tl.store(d_queries + place_q, d_q, mask=tokens[:, None] & of_d)
        d_k = tl.dot(tl.trans(d_close), q, input_precision=PRECISION) + tl.dot(d_raw, a, input_precision=PRECISION)
        tl.store(d_keys + place_k, d_k, mask=slots[:, None] & of_d)
        d_m = tl.dot(tl.trans(d_via_m), q, input_precision=PRECISION)
        d_a = tl.dot(tl.trans(d_raw), k, input_precision=PRECISION)
        if ALWAYS:
            d_m += d_a
        else:
            tl.store(d_anchors + matrix, d_a, mask=of_m)
        tl.store(d_weights + matrix, d_m, mask=of_m)
        tl.store(d_momentum + matrix, tl.dot(tl.trans(d_via_s), q, input_precision=PRECISION), mask=of_m)


class _Reads(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, before: bool, *given: Tensor) -> Tensor:
        # Where every segment opens, the anchors are the weights, and one gradient says both.
        ctx.always = given[-1] is None
        given = dense(*given[:-1], given[-3] if ctx.always else given[-1])
        queries, values = given[0], given[2]
        tokens, features = queries.shape[-2:]
        slots, width = values.shape[-2:]
        found = queries.new_empty(*queries.shape[:-1], width)
        block = min(tile(features), FEATURE_BLOCK)
        ctx.sizes = (tokens, slots, features, width, tile(tokens), tile(slots), block, tile(width), before)
        _forward[(queries.shape[:3].numel(),)](*given, found, *ctx.sizes, precision(), **LAUNCH)
        ctx.save_for_backward(*given)
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        given, before = ctx.saved_tensors, ctx.sizes[-1]
        (d_found,) = dense(*grads)
        # Under `pre` no token reads with the last row of W.
        found = [torch.zeros_like(x) if before and 4 <= n < 7 else torch.empty_like(x) for n, x in enumerate(given)]
        rows = d_found.shape[:3].numel()
        _backward[(rows,)](*given, d_found, *found, *ctx.sizes, ctx.always, precision(), **LAUNCH)
        return (None, *found[:-1], None if ctx.always else found[-1])
