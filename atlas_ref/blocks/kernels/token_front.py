"""What a call of one token brings to its memory by one kernel: convolution, SiLU, norm, features, gates, and windows.

    y = sum_j w[:, K-1-j] x_{t-j},      a = f(y sigmoid(y) / (||.||^2 + eps^2)^{1/2})

for the heads of queries and keys, and y itself for values. Keys and values stand behind those of the window, with zeros
where the document is younger; the tail of the convolution loses its oldest input and takes the newest in. The logits of
the gates become what a write consumes. A program has one kind of one head: queries, keys, values or gates. References
are `functional.convolution`, `functional.polynomial`, `blocks.gates`, `memory.rules.write_coefficients` and
`functional.window`; there is no gradient, as decoding needs none.
"""

import torch
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from atlas_ref.blocks.kernels.features import Products, products
from atlas_ref.blocks.kernels.token_given import Before, Brought, GateForm
from atlas_ref.memory.kernels.call import Widths
from atlas_ref.memory.kernels.front_parts import length_of
from atlas_ref.memory.kernels.launching import compiled, tile
from atlas_ref.memory.rules import WriteCoefficients


def token_front(
    projected: Float[Tensor, "batch 1 channels"],
    logits: Float[Tensor, "batch 1 gates"],
    weight: Float[Tensor, "channels kernel"],
    coefficients: Float[Tensor, " degree"],
    basis: Products,
    before: Before,
    widths: Widths,
    gates: GateForm,
) -> Brought:
    """Return what the memory is given; softplus of `coefficients` are those of the degrees, one or two."""
    batch, past, heads, features = before.keys.shape
    degree, kernel = len(coefficients), weight.shape[1]
    # Of the first degree a feature is an entry; the tables are not read.
    table = products(widths.key, basis, projected.device) if degree > 1 else (coefficients,) * 3
    given = (projected, logits, weight, coefficients, *table, *before)
    queries, values = projected.new_empty(batch, 1, heads, features), before.values
    keys = projected.new_empty(batch, past + 1, heads, features)
    values = projected.new_empty(batch, past + 1, heads, widths.value)
    tail = torch.empty_like(before.tail, memory_format=torch.contiguous_format)
    rates, window = projected.new_empty(5, batch, 1, heads), projected.new_empty(batch, 1, heads, gates.window)
    _token_front[(batch, 4 * heads)](
        *(x.contiguous() for x in given),
        *(queries, keys, values, tail, rates, window),
        logits.shape[-1],
        projected.shape[-1],
        heads,
        widths.eps,
        gates.momentum_most,
        gates.step_most,
        gates.divisor,
        gates.share,
        *(widths.key, widths.value, features, past, kernel, degree, gates.window),
        *(tile(widths.key), tile(widths.value), tile(features), tile(past), tile(gates.window)),
        *gates.places,
        gates.averages,
        gates.step_in_momentum,
        num_warps=4,
    )
    retention, momentum, intake, release, step = rates.unbind()
    return Brought(
        queries, keys, values, tail, WriteCoefficients(retention, momentum, intake, release, window, step, None)
    )


@compiled
def _filtered(
    x: tl.tensor,
    tail: tl.tensor,
    weight: tl.tensor,
    channel: tl.tensor,
    held: tl.tensor,
    place: tl.tensor,
    CHANNELS: tl.tensor,
    KERNEL: tl.constexpr,
) -> tl.tensor:
    """Return what the filters of some channels make of the inputs of their context."""
    found = tl.load(weight + channel * KERNEL + KERNEL - 1, mask=held, other=0.0)
    found = found * tl.load(x + channel, mask=held, other=0.0)
    for age in tl.static_range(1, KERNEL):
        factor = tl.load(weight + channel * KERNEL + KERNEL - 1 - age, mask=held, other=0.0)
        old = tl.load(tail + (KERNEL - 1 - age) * CHANNELS + channel, mask=held & (place >= age), other=0.0)
        found += factor * old
    return found


@compiled
def _moved(
    x: tl.tensor,
    tail: tl.tensor,
    after: tl.tensor,
    channel: tl.tensor,
    held: tl.tensor,
    place: tl.tensor,
    CHANNELS: tl.tensor,
    KERNEL: tl.constexpr,
) -> None:
    """Write the tail behind the token."""
    for age in tl.static_range(1, KERNEL - 1):
        entry = (KERNEL - 1 - age) * CHANNELS + channel
        old = tl.load(tail + entry, mask=held & (place >= age), other=0.0)
        tl.store(after + entry - CHANNELS, old, mask=held)
    if KERNEL > 1:
        newest = tl.load(x + channel, mask=held, other=0.0)
        tl.store(after + (KERNEL - 2) * CHANNELS + channel, newest, mask=held)


@compiled
def _behind(
    old: tl.tensor,
    new: tl.tensor,
    own: tl.tensor,
    row: tl.tensor,
    head: tl.tensor,
    width: tl.tensor,
    place: tl.tensor,
    HEADS: tl.tensor,
    PAST: tl.constexpr,
    SLOTS: tl.constexpr,
    SIZE: tl.constexpr,
) -> None:
    """Write the window of a head, with zeros for what is not of the document, and the token's own behind it."""
    held, slot = width < SIZE, tl.arange(0, SLOTS)
    entry = (slot[:, None] * HEADS + head) * SIZE + width[None, :]
    kept = (slot < PAST)[:, None] & held[None, :]
    seen = kept & (PAST - slot <= place)[:, None]
    found = tl.load(old + row * PAST * HEADS * SIZE + entry, mask=seen, other=0.0)
    new += row * (PAST + 1) * HEADS * SIZE
    tl.store(new + entry, found, mask=kept)
    tl.store(new + (PAST * HEADS + head) * SIZE + width, own, mask=held)


@compiled
def _root(coefficients: tl.tensor, NUMBER: tl.constexpr) -> tl.tensor:
    """Return the root of the softplus of a coefficient: ln(1 + e) is e ln(u) / (u - 1), u what 1 + e rounds to."""
    raw = tl.load(coefficients + NUMBER)
    e = tl.exp(tl.minimum(raw, 20.0))
    u = 1.0 + e
    less = tl.where(u == 1.0, 1.0, u - 1.0)
    return tl.sqrt(tl.where(raw > 20.0, raw, tl.where(u == 1.0, e, tl.log(u) * (e / less))))


@compiled
def _gate(logits: tl.tensor, head: tl.tensor, HEADS: tl.tensor, PLACE: tl.constexpr, FIXED: tl.constexpr) -> tl.tensor:
    """Return the share of a gate that is learned, in row PLACE of the logits, or what it is FIXED at."""
    return tl.sigmoid(tl.load(logits + PLACE * HEADS + head)) if PLACE >= 0 else FIXED + 0.0 * head


@compiled
def _token_front(
    x: tl.tensor,
    logits: tl.tensor,
    weight: tl.tensor,
    coefficients: tl.tensor,
    left: tl.tensor,
    right: tl.tensor,
    factor: tl.tensor,
    tail: tl.tensor,
    old_keys: tl.tensor,
    old_values: tl.tensor,
    context: tl.tensor,
    position: tl.tensor,
    queries: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    next_tail: tl.tensor,
    rates: tl.tensor,
    window: tl.tensor,
    GATES: tl.tensor,
    CHANNELS: tl.tensor,
    HEADS: tl.tensor,
    EPS: tl.tensor,
    MOMENTUM: tl.tensor,
    STEP: tl.tensor,
    DIVISOR: tl.tensor,
    SHARE: tl.tensor,
    KEYS: tl.constexpr,
    VALUES: tl.constexpr,
    FEATURES: tl.constexpr,
    PAST: tl.constexpr,
    KERNEL: tl.constexpr,
    DEGREE: tl.constexpr,
    WINDOW: tl.constexpr,
    KEY_TILE: tl.constexpr,
    VALUE_TILE: tl.constexpr,
    FEATURE_TILE: tl.constexpr,
    SLOTS: tl.constexpr,
    AGES: tl.constexpr,
    RETENTION_AT: tl.constexpr,
    MOMENTUM_AT: tl.constexpr,
    STEP_AT: tl.constexpr,
    WINDOW_AT: tl.constexpr,
    AVERAGES: tl.constexpr,
    STEP_IN_MOMENTUM: tl.constexpr,
) -> None:
    row, kind, head = tl.program_id(0).to(tl.int64), tl.program_id(1) // HEADS, tl.program_id(1) % HEADS
    x, tail = x + row * CHANNELS, tail + row * (KERNEL - 1) * CHANNELS
    next_tail += row * (KERNEL - 1) * CHANNELS
    near, place = tl.load(context + row), tl.load(position + row)
    if kind < 2:
        width, feature = tl.arange(0, KEY_TILE), tl.arange(0, FEATURE_TILE)
        held, lifted = width < KEYS, feature < FEATURES
        first = (kind * HEADS + head) * KEYS
        _moved(x, tail, next_tail, first + width, held, near, CHANNELS, KERNEL)
        y = _filtered(x, tail, weight, first + width, held, near, CHANNELS, KERNEL)
        length = tl.sum(length_of((y * tl.sigmoid(y))[None, :], EPS), 0)
        entry = feature
        if DEGREE > 1:
            entry = tl.load(left + feature, mask=lifted, other=0)
        y = _filtered(x, tail, weight, first + entry, lifted, near, CHANNELS, KERNEL)
        found = y * tl.sigmoid(y) / length * _root(coefficients, 0)
        if DEGREE > 1:
            entry = tl.load(right + feature, mask=lifted, other=0)
            other = _filtered(x, tail, weight, first + entry, lifted, near, CHANNELS, KERNEL)
            pair = (y * tl.sigmoid(y) / length) * (other * tl.sigmoid(other) / length) * _root(coefficients, 1)
            found = tl.where(feature < KEYS, found, pair * tl.load(factor + feature, mask=lifted, other=0.0))
        if kind == 0:
            tl.store(queries + (row * HEADS + head) * FEATURES + feature, found, mask=lifted)
        else:
            _behind(old_keys, keys, found, row, head, feature, place, HEADS, PAST, SLOTS, FEATURES)
    elif kind == 2:
        number = tl.arange(0, VALUE_TILE)
        channel, there = 2 * HEADS * KEYS + head * VALUES + number, number < VALUES
        _moved(x, tail, next_tail, channel, there, near, CHANNELS, KERNEL)
        told = _filtered(x, tail, weight, channel, there, near, CHANNELS, KERNEL)
        _behind(old_values, values, told, row, head, number, place, HEADS, PAST, SLOTS, VALUES)
    else:
        logits += row * GATES
        retention, momentum = (
            _gate(logits, head, HEADS, RETENTION_AT, 1.0),
            _gate(logits, head, HEADS, MOMENTUM_AT, 0.0),
        )
        momentum = momentum * MOMENTUM
        step = _gate(logits, head, HEADS, STEP_AT, 1.0) * STEP / DIVISOR
        fresh = 1.0 - momentum if AVERAGES else 1.0 + 0.0 * momentum
        out, size = rates + row * HEADS + head, tl.num_programs(0).to(tl.int64) * HEADS
        tl.store(out, retention)
        tl.store(out + size, momentum)
        tl.store(out + 2 * size, -fresh * step if STEP_IN_MOMENTUM else fresh)
        tl.store(out + 3 * size, 1.0 + 0.0 * step if STEP_IN_MOMENTUM else -step)
        tl.store(out + 4 * size, step)
        age = tl.arange(0, AGES)
        shares = tl.full([AGES], 1.0, tl.float32)
        if WINDOW_AT >= 0:
            shares = tl.sigmoid(tl.load(logits + (WINDOW_AT + age) * HEADS + head, mask=age < WINDOW, other=0.0))
        tl.store(window + (row * HEADS + head) * WINDOW + age, shares * SHARE, mask=age < WINDOW)
