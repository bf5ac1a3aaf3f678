"""Attention of a call of one token by one kernel: rotation, scores, softmax and sums, and the caches behind the token.

    y = sum_j softmax(q . k_j / sqrt(dim)) v_j

over the persistent tokens, the token itself and what the caches hold of its context, with q and its own k turned by the
angles of the token. The caches lose their oldest entry and take this one in, with zeros where the context is younger.
A program has one head of one row. What is out of sight is not read at all; what is in sight and not finite is NaN, and
so is the logit of its pair, which goes through every sum. References are `functional.attention`, `functional.rotary`
and `functional.window`; there is no gradient, as decoding needs none.
"""

from typing import Final

import torch
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from atlas_ref.blocks.kernels.attended import Past, Shape
from atlas_ref.functional.rotary import Angles
from atlas_ref.memory.kernels.launching import compiled, tile

KEYS: Final = 128
"""Most keys that a program holds at once."""


def one_query(
    asking: Float[Tensor, "batch 1 channels"],
    told: Float[Tensor, "batch 1 twice"],
    persistent: Float[Tensor, "tokens thrice"] | None,
    past: Past,
    position: Int[Tensor, "batch 1"],
    turning: Angles | None,
    shape: Shape,
) -> tuple[Float[Tensor, "batch 1 heads dim"], Past]:
    """Return what the token sees, and the caches after it.

    `asking` are its queries of all heads, `told` its keys and then its values; those of `persistent` stand behind
    queries that nobody asks, and are not turned. Without `turning` nothing is.
    """
    asking, told, position = (x if x.stride(-1) == 1 else x.contiguous() for x in (asking, told, position))
    fixed = told if persistent is None else persistent.contiguous()[:, asking.shape[-1] :]
    cosine, sine = (told, told) if turning is None else (x.contiguous() for x in turning)
    batch, (heads, dim, window) = len(asking), shape
    out = asking.new_empty(batch, 1, heads, dim)
    after = Past(*(torch.empty_like(x, memory_format=torch.contiguous_format) for x in past))
    _one_query[(batch * heads,)](
        *(asking, told, fixed, *(x.contiguous() for x in past), position, cosine, sine, out, *after),
        *(asking.stride(0), told.stride(0), fixed.stride(0), position.stride(0)),
        heads,
        dim**-0.5,
        window - 1,
        0 if persistent is None else len(persistent),
        1 if persistent is None else tile(len(persistent)),
        dim,
        tile(dim),
        min(KEYS, tile(window)),
        turning is not None,
        num_warps=8,
    )
    return out, after


@compiled
def _finite(x: tl.tensor) -> tl.tensor:
    """Return x with NaN for what is infinite."""
    return tl.where(tl.abs(x) < float("inf"), x, float("nan"))


@compiled
def _turned(
    x: tl.tensor,
    cosine: tl.tensor,
    sine: tl.tensor,
    width: tl.tensor,
    DIM: tl.constexpr,
    TURNS: tl.constexpr,
) -> tl.tensor:
    """Return a head, each pair of it turned by its angle."""
    held = width < DIM
    found = tl.load(x + width, mask=held, other=0.0)
    if TURNS:
        c, s = tl.load(cosine + width // 2, mask=held, other=0.0), tl.load(sine + width // 2, mask=held, other=0.0)
        other = tl.load(x + (width ^ 1), mask=held, other=0.0)
        found = found * c + other * tl.where(width % 2 == 0, -s, s)
    return found


@compiled
def _seen(
    q: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    sight: tl.tensor,
    most: tl.tensor,
    total: tl.tensor,
    found: tl.tensor,
    SCALE: tl.tensor,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Return the largest logit, the sum of the exponentials and that of the values with those in `sight` too."""
    keys, seen = _finite(keys), _finite(values)
    logits = _finite(tl.sum(keys * q[None, :], 1) * SCALE) + 0.0 * tl.sum(seen, 1)
    logits = tl.where(sight, logits, float("-inf"))
    higher = tl.maximum(most, tl.max(logits, 0))
    weights, shrunk = tl.exp(logits - higher), tl.exp(most - higher)
    more = tl.sum(weights[:, None] * seen, 0)
    return higher, total * shrunk + tl.sum(weights, 0), found * shrunk + more


@compiled
def _one_query(
    asking: tl.tensor,
    told: tl.tensor,
    fixed: tl.tensor,
    old_keys: tl.tensor,
    old_values: tl.tensor,
    position: tl.tensor,
    cosine: tl.tensor,
    sine: tl.tensor,
    out: tl.tensor,
    new_keys: tl.tensor,
    new_values: tl.tensor,
    ASKED: tl.tensor,
    TOLD: tl.tensor,
    FIXED: tl.tensor,
    PLACED: tl.tensor,
    HEADS: tl.tensor,
    SCALE: tl.tensor,
    PAST: tl.constexpr,
    PERSISTENT: tl.constexpr,
    MORE: tl.constexpr,
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    KEYS: tl.constexpr,
    TURNS: tl.constexpr,
) -> None:
    """Rows of `asking`, `told`, `fixed` and `position` are ASKED, TOLD, FIXED and PLACED numbers apart."""
    row, head = tl.program_id(0).to(tl.int64) // HEADS, tl.program_id(0) % HEADS
    width = tl.arange(0, WIDTH)
    held = width < DIM
    place = tl.load(position + row * PLACED)
    cosine, sine = cosine + row * (DIM // 2), sine + row * (DIM // 2)
    own = told + row * TOLD + head * DIM
    q = _finite(_turned(asking + row * ASKED + head * DIM, cosine, sine, width, DIM, TURNS))
    k = _turned(own, cosine, sine, width, DIM, TURNS)
    v = tl.load(own + HEADS * DIM + width, mask=held, other=0.0)
    seen = _finite(v)
    most = _finite(tl.sum(q * _finite(k)) * SCALE) + 0.0 * tl.sum(seen)
    # One, or NaN where the logit is.
    total = tl.exp(0.0 * most)
    found = total * seen
    if PERSISTENT > 0:
        always = tl.arange(0, MORE)
        place_of = fixed + always[:, None] * FIXED + head * DIM + width[None, :]
        lasting = (always < PERSISTENT)[:, None] & held[None, :]
        fixed_keys = tl.load(place_of, mask=lasting, other=0.0)
        fixed_values = tl.load(place_of + HEADS * DIM, mask=lasting, other=0.0)
        most, total, found = _seen(q, fixed_keys, fixed_values, always < PERSISTENT, most, total, found, SCALE)
    first = (row * PAST * HEADS + head) * DIM
    for block in range((PAST + KEYS - 1) // KEYS):
        slot = block * KEYS + tl.arange(0, KEYS)
        sight = (slot < PAST) & (PAST - slot <= place)
        there = sight[:, None] & held[None, :]
        entry = first + slot[:, None] * HEADS * DIM + width[None, :]
        keys = tl.load(old_keys + entry, mask=there, other=0.0)
        values = tl.load(old_values + entry, mask=there, other=0.0)
        kept = ((slot > 0) & (slot < PAST))[:, None] & held[None, :]
        tl.store(new_keys + entry - HEADS * DIM, keys, mask=kept)
        tl.store(new_values + entry - HEADS * DIM, values, mask=kept)
        most, total, found = _seen(q, keys, values, sight, most, total, found, SCALE)
    if PAST > 0:
        last = first + (PAST - 1) * HEADS * DIM + width
        tl.store(new_keys + last, k, mask=held)
        tl.store(new_values + last, v, mask=held)
    tl.store(out + (row * HEADS + head) * DIM + width, found / total, mask=held)
