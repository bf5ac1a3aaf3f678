"""What the tokens of a segment read, a program for each segment, row and head.

    y_t = W[t, M] M q_t + W[t, S] S q_t + sum_i W[t, i] (k_i . q_t) e_i,      e = (K A^T - V) r

with M, S and A what the segment entered with (`chunk_scan`) and W its coordinates (`coordinates`); under `pre` token t
reads with row t - 1, which is that of M alone at the first. The reference is `linear._read_linear`. Features are gone
through in blocks, so that wide ones need no larger tiles.
"""

from collections.abc import Callable
from typing import Any

import torch
import triton.language as tl
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from atlas_ref.memory.kernels.coordinates import Mixing
from atlas_ref.memory.kernels.held import Entered
from atlas_ref.memory.kernels.launching import LAUNCH, compiled, dense, loaded, precision, stored, tile

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
    apply: Callable[..., Tensor] = _Reads.apply
    return apply(before, queries, keys, values, shares, *mix[:3], *entered)


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
    rows = loaded(inside, first + t, i, known, SLOTS)
    return rows, tl.load(from_s + first + t, mask=known, other=0.0), tl.load(from_m + first + t, mask=known, other=1.0)


@compiled
def _products(
    queries: tl.tensor,
    keys: tl.tensor,
    weights: tl.tensor,
    momentum: tl.tensor,
    anchors: tl.tensor,
    t: tl.tensor,
    tokens: tl.tensor,
    i: tl.tensor,
    slots: tl.tensor,
    v: tl.tensor,
    of_v: tl.tensor,
    FEATURES: tl.constexpr,
    TOKEN_TILE: tl.constexpr,
    SLOT_TILE: tl.constexpr,
    BLOCK: tl.constexpr,
    VALUE_TILE: tl.constexpr,
    PRECISION: tl.constexpr,
) -> tl.tensor:
    """Return Q M^T, Q S^T, Q K^T and K A^T; t, i and v are the places of rows of tokens, slots and values."""
    via_m = tl.zeros([TOKEN_TILE, VALUE_TILE], tl.float32)
    via_s = tl.zeros([TOKEN_TILE, VALUE_TILE], tl.float32)
    close = tl.zeros([TOKEN_TILE, SLOT_TILE], tl.float32)
    predicted = tl.zeros([SLOT_TILE, VALUE_TILE], tl.float32)
    for start in range(0, FEATURES, BLOCK):
        d = start + tl.arange(0, BLOCK)
        q, k = loaded(queries, t, d, tokens, FEATURES), loaded(keys, i, d, slots, FEATURES)
        m, s = loaded(weights, v, d, of_v, FEATURES), loaded(momentum, v, d, of_v, FEATURES)
        via_m += tl.dot(q, tl.trans(m), input_precision=PRECISION)
        via_s += tl.dot(q, tl.trans(s), input_precision=PRECISION)
        close += tl.dot(q, tl.trans(k), input_precision=PRECISION)
        predicted += tl.dot(k, tl.trans(loaded(anchors, v, d, of_v, FEATURES)), input_precision=PRECISION)
    return via_m, via_s, close, predicted


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
    t, i, v = tl.arange(0, TOKEN_TILE), tl.arange(0, SLOT_TILE), tl.arange(0, VALUE_TILE)
    tokens, slots, of_v = t < TOKENS, i < SLOTS, v < VALUES
    of_t, of_i, of_m = at * TOKENS + t, at * SLOTS + i, at * VALUES + v
    via_m, via_s, close, predicted = _products(
        queries,
        keys,
        weights,
        momentum,
        anchors,
        of_t,
        tokens,
        of_i,
        slots,
        of_m,
        of_v,
        FEATURES,
        TOKEN_TILE,
        SLOT_TILE,
        BLOCK,
        VALUE_TILE,
        PRECISION,
    )
    share = tl.load(shares + of_i, mask=slots, other=0.0)
    error = (predicted - loaded(values, of_i, v, slots, VALUES)) * share[:, None]
    when = t - 1 if BEFORE else t
    rows, share_s, share_m = _mixed(inside, from_s, from_m, at * TOKENS, when, tokens, i, slots, SLOTS)
    y = share_m[:, None] * via_m + share_s[:, None] * via_s + tl.dot(close * rows, error, input_precision=PRECISION)
    stored(found, of_t, v, tokens, y, VALUES)


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
    of_t, of_i, of_m = at * TOKENS + t, at * SLOTS + i, at * VALUES + v
    via_m, via_s, close, predicted = _products(
        queries,
        keys,
        weights,
        momentum,
        anchors,
        of_t,
        tokens,
        of_i,
        slots,
        of_m,
        of_v,
        FEATURES,
        TOKEN_TILE,
        SLOT_TILE,
        BLOCK,
        VALUE_TILE,
        PRECISION,
    )
    raw = predicted - loaded(values, of_i, v, slots, VALUES)
    share = tl.load(shares + of_i, mask=slots, other=0.0)
    when = t - 1 if BEFORE else t
    rows, share_s, share_m = _mixed(inside, from_s, from_m, at * TOKENS, when, tokens, i, slots, SLOTS)
    d_y = loaded(d_found, of_t, v, tokens, VALUES)
    # Row t of W is read by token t, or under `pre` by the next; nobody reads the last row then.
    d_mixed = tl.dot(d_y, tl.trans(raw * share[:, None]), input_precision=PRECISION)
    known, of_w = tokens & (when >= 0), at * TOKENS + when
    stored(d_inside, of_w, i, known, d_mixed * close, SLOTS)
    tl.store(d_from_s + of_w, tl.sum(d_y * via_s, 1), mask=known)
    tl.store(d_from_m + of_w, tl.sum(d_y * via_m, 1), mask=known)
    d_error = tl.dot(tl.trans(close * rows), d_y, input_precision=PRECISION)
    d_raw = d_error * share[:, None]
    d_close = d_mixed * rows
    stored(d_values, of_i, v, slots, -d_raw, VALUES)
    tl.store(d_shares + of_i, tl.sum(d_error * raw, 1), mask=slots)
    d_via_m, d_via_s = d_y * share_m[:, None], d_y * share_s[:, None]
    for start in range(0, FEATURES, BLOCK):
        d = start + tl.arange(0, BLOCK)
        q, k = loaded(queries, of_t, d, tokens, FEATURES), loaded(keys, of_i, d, slots, FEATURES)
        d_q = tl.dot(d_via_m, loaded(weights, of_m, d, of_v, FEATURES), input_precision=PRECISION)
        d_q += tl.dot(d_via_s, loaded(momentum, of_m, d, of_v, FEATURES), input_precision=PRECISION)
        d_q += tl.dot(d_close, k, input_precision=PRECISION)
        stored(d_queries, of_t, d, tokens, d_q, FEATURES)
        d_k = tl.dot(d_raw, loaded(anchors, of_m, d, of_v, FEATURES), input_precision=PRECISION)
        d_k += tl.dot(tl.trans(d_close), q, input_precision=PRECISION)
        stored(d_keys, of_i, d, slots, d_k, FEATURES)
        d_m = tl.dot(tl.trans(d_via_m), q, input_precision=PRECISION)
        d_a = tl.dot(tl.trans(d_raw), k, input_precision=PRECISION)
        if ALWAYS:
            d_m += d_a
        else:
            stored(d_anchors, of_m, d, of_v, d_a, FEATURES)
        stored(d_weights, of_m, d, of_v, d_m, FEATURES)
        stored(d_momentum, of_m, d, of_v, tl.dot(tl.trans(d_via_s), q, input_precision=PRECISION), FEATURES)


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
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        given, before = ctx.saved_tensors, ctx.sizes[-1]
        (d_found,) = dense(*grads)
        # Under `pre` no token reads with the last row of W.
        found = [torch.zeros_like(x) if before and 4 <= n < 7 else torch.empty_like(x) for n, x in enumerate(given)]
        rows = d_found.shape[:3].numel()
        _backward[(rows,)](*given, d_found, *found, *ctx.sizes, ctx.always, precision(), **LAUNCH)
        return (None, *found[:-1], None if ctx.always else found[-1])
