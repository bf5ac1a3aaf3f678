"""The coordinates U and W of `segments`, a program for each segment, row and head, as a recurrence over its tokens.

    U[t] = theta_t U[t-1] + intake_t [G[t], 0],         W[t] = alpha_t W[t-1] + release_t [U[t], 0]

The coordinates of the factors are a vector of slots; those of S and M at the start of the segment are three numbers.
The reference is `segments.coordinates`. No logarithm and no exponential: decays of exactly 0 and 1 are exact.
The backward pass is the adjoint recurrence, from U formed once more and W as it was stored.

Gates are read where the layer has them; behind the last token of a segment nothing decays or is written.
"""

import torch
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from atlas_ref.memory.kernels.held import Borders, Decays, Mixing, MixingGradients, Sizes
from atlas_ref.memory.kernels.launching import compiled, tile
from atlas_ref.memory.kernels.parts import segment


@compiled
def _coordinates(
    retention: tl.tensor,
    momentum: tl.tensor,
    intake: tl.tensor,
    release: tl.tensor,
    window: tl.tensor,
    borders: tl.tensor,
    inside: tl.tensor,
    from_s: tl.tensor,
    from_m: tl.tensor,
    last_u: tl.tensor,
    last_u_s: tl.tensor,
    RETENTION: tl.tensor,
    MOMENTUM: tl.tensor,
    INTAKE: tl.tensor,
    RELEASE: tl.tensor,
    OF_TOKEN: tl.tensor,
    OF_HEAD: tl.tensor,
    OF_AGE: tl.tensor,
    SEGMENTS: tl.tensor,
    BATCH: tl.tensor,
    HEADS: tl.tensor,
    TIME: tl.tensor,
    TOKENS: tl.tensor,
    PAST: tl.constexpr,
    SLOTS: tl.constexpr,
    TILE: tl.constexpr,
) -> None:
    program = tl.program_id(0).to(tl.int64)
    mark, head = program // HEADS, program % HEADS
    start, length, _ = segment(borders, mark, SEGMENTS * BATCH, PAST, 0)
    place = (mark % BATCH) * TIME + start
    slot = tl.arange(0, TILE)
    held = slot < SLOTS
    u = tl.zeros([TILE], tl.float32)
    w = tl.zeros([TILE], tl.float32)
    u_s, w_s, w_m = 1.0, 0.0, 1.0
    for t in range(TOKENS):
        there, token, row = t < length, place + t, program * TOKENS + t
        age = t + PAST - slot
        near = there & held & (age >= 0) & (age <= PAST)
        seen = tl.load(window + token * OF_TOKEN + head * OF_HEAD + age * OF_AGE, mask=near, other=0.0)
        theta = tl.load(momentum + token * MOMENTUM + head, mask=there, other=1.0)
        alpha = tl.load(retention + token * RETENTION + head, mask=there, other=1.0)
        out = tl.load(release + token * RELEASE + head, mask=there, other=0.0)
        u = theta * u + tl.load(intake + token * INTAKE + head, mask=there, other=0.0) * seen
        u_s = theta * u_s
        w = alpha * w + out * u
        w_s = alpha * w_s + out * u_s
        w_m = alpha * w_m
        tl.store(inside + row * SLOTS + slot, w, mask=held)
        tl.store(from_s + row, w_s)
        tl.store(from_m + row, w_m)
    tl.store(last_u + program * SLOTS + slot, u, mask=held)
    tl.store(last_u_s + program, u_s)


@compiled
def _coordinates_adjoint(
    retention: tl.tensor,
    momentum: tl.tensor,
    intake: tl.tensor,
    release: tl.tensor,
    window: tl.tensor,
    borders: tl.tensor,
    inside: tl.tensor,
    from_s: tl.tensor,
    from_m: tl.tensor,
    d_inside: tl.tensor,
    d_from_s: tl.tensor,
    d_from_m: tl.tensor,
    d_last_w: tl.tensor,
    d_last_u: tl.tensor,
    d_last_u_s: tl.tensor,
    scratch: tl.tensor,
    d_retention: tl.tensor,
    d_momentum: tl.tensor,
    d_intake: tl.tensor,
    d_release: tl.tensor,
    d_window: tl.tensor,
    RETENTION: tl.tensor,
    MOMENTUM: tl.tensor,
    INTAKE: tl.tensor,
    RELEASE: tl.tensor,
    OF_TOKEN: tl.tensor,
    OF_HEAD: tl.tensor,
    OF_AGE: tl.tensor,
    SEGMENTS: tl.tensor,
    BATCH: tl.tensor,
    HEADS: tl.tensor,
    TIME: tl.tensor,
    TOKENS: tl.tensor,
    PAST: tl.constexpr,
    SLOTS: tl.constexpr,
    TILE: tl.constexpr,
) -> None:
    program = tl.program_id(0).to(tl.int64)
    mark, head = program // HEADS, program % HEADS
    start, length, _ = segment(borders, mark, SEGMENTS * BATCH, PAST, 0)
    place = (mark % BATCH) * TIME + start
    slot = tl.arange(0, TILE)
    held = slot < SLOTS
    # U once more: row t of the scratch is U before token t, and its last column that of S.
    u = tl.zeros([TILE], tl.float32)
    u_s = 1.0
    for t in range(length):
        token, row = place + t, program * TOKENS + t
        age = t + PAST - slot
        near = held & (age >= 0) & (age <= PAST)
        seen = tl.load(window + token * OF_TOKEN + head * OF_HEAD + age * OF_AGE, mask=near, other=0.0)
        theta = tl.load(momentum + token * MOMENTUM + head)
        tl.store(scratch + row * (SLOTS + 1) + slot, u, mask=held)
        tl.store(scratch + row * (SLOTS + 1) + SLOTS, u_s)
        u = theta * u + tl.load(intake + token * INTAKE + head) * seen
        u_s = theta * u_s
    # What stands behind is the adjoint of W and U at the token after, decayed.
    behind_w = tl.load(d_last_w + program * SLOTS + slot, mask=held, other=0.0)
    behind_w_s, behind_w_m = 0.0, 0.0
    behind_u = tl.load(d_last_u + program * SLOTS + slot, mask=held, other=0.0)
    behind_u_s = tl.load(d_last_u_s + program)
    tl.debug_barrier()
    for back in range(TOKENS):
        t = TOKENS - 1 - back
        there, token, row = t < length, place + t, program * TOKENS + t
        age = t + PAST - slot
        near = there & held & (age >= 0) & (age <= PAST)
        seen = tl.load(window + token * OF_TOKEN + head * OF_HEAD + age * OF_AGE, mask=near, other=0.0)
        theta = tl.load(momentum + token * MOMENTUM + head, mask=there, other=1.0)
        alpha = tl.load(retention + token * RETENTION + head, mask=there, other=1.0)
        out = tl.load(release + token * RELEASE + head, mask=there, other=0.0)
        taken = tl.load(intake + token * INTAKE + head, mask=there, other=0.0)
        inner = there & (t > 0)
        w_before = tl.load(inside + (row - 1) * SLOTS + slot, mask=inner & held, other=0.0)
        w_s_before = tl.load(from_s + row - 1, mask=inner, other=0.0)
        w_m_before = tl.load(from_m + row - 1, mask=inner, other=1.0)
        u_before = tl.load(scratch + row * (SLOTS + 1) + slot, mask=there & held, other=0.0)
        u_s_before = tl.load(scratch + row * (SLOTS + 1) + SLOTS, mask=there, other=0.0)
        d_w = behind_w + tl.load(d_inside + row * SLOTS + slot, mask=held, other=0.0)
        d_w_s = behind_w_s + tl.load(d_from_s + row)
        d_w_m = behind_w_m + tl.load(d_from_m + row)
        d_u = behind_u + out * d_w
        d_u_s = behind_u_s + out * d_w_s
        u = theta * u_before + taken * seen
        u_s = theta * u_s_before
        of_gate = token * HEADS + head
        tl.store(d_retention + of_gate, tl.sum(d_w * w_before) + d_w_s * w_s_before + d_w_m * w_m_before, mask=there)
        tl.store(d_release + of_gate, tl.sum(d_w * u) + d_w_s * u_s, mask=there)
        tl.store(d_momentum + of_gate, tl.sum(d_u * u_before) + d_u_s * u_s_before, mask=there)
        tl.store(d_intake + of_gate, tl.sum(d_u * seen), mask=there)
        tl.store(d_window + of_gate * (PAST + 1) + age, taken * d_u, mask=near)
        behind_w, behind_w_s, behind_w_m = alpha * d_w, alpha * d_w_s, alpha * d_w_m
        behind_u, behind_u_s = theta * d_u, theta * d_u_s


def mixing(sizes: Sizes, borders: Borders, decays: Decays) -> Mixing:
    """Return the coordinates of every segment; its slots are the tokens of its window and its own (derived)."""
    new = decays.retention.new_empty
    rows = (sizes.segments, sizes.batch, sizes.heads)
    inside, last_u = new(*rows, sizes.tokens, sizes.slots), new(*rows, sizes.slots)
    found = Mixing(inside, new(*rows, sizes.tokens), new(*rows, sizes.tokens), last_u, new(rows))
    _coordinates[(found.last_u_s.numel(),)](*decays, borders.table, *found, *_places(decays, sizes), num_warps=1)
    return found


def mixing_adjoint(sizes: Sizes, borders: Borders, decays: Decays, mix: Mixing, grads: MixingGradients) -> Decays:
    """Return the gradients of gates from those of the coordinates (derived)."""
    scratch = mix.inside.new_empty(*mix.inside.shape[:-1], sizes.slots + 1)
    found = Decays._make(torch.empty_like(gate, memory_format=torch.contiguous_format) for gate in decays)
    _coordinates_adjoint[(mix.last_u_s.numel(),)](
        *decays, borders.table, *mix[:3], *grads, scratch, *found, *_places(decays, sizes), num_warps=1
    )
    return found


def in_rows(gate: Float[Tensor, "batch time heads"]) -> Float[Tensor, "batch time heads"]:
    """Return a gate whose heads stand side by side and whose rows follow one another, as it is where they do."""
    batch, time, heads = gate.shape
    of_row, of_token, of_head = gate.stride()
    apart = (batch > 1 and of_row != time * of_token) or (heads > 1 and of_head != 1)
    return gate.float().contiguous() if apart or gate.dtype != torch.float32 else gate


def window_in_rows(window: Float[Tensor, "batch time heads window"]) -> Float[Tensor, "batch time heads window"]:
    """Return window weights whose rows follow one another, as they are where they do."""
    batch, time = window.shape[:2]
    apart = batch > 1 and window.stride(0) != time * window.stride(1)
    return window.float().contiguous() if apart or window.dtype != torch.float32 else window


def _places(decays: Decays, sizes: Sizes) -> tuple[int, ...]:
    """Return how far numbers of neighbouring tokens, heads and ages lie apart, and the sizes, for both kernels."""
    strides = (*(gate.stride(1) for gate in decays[:4]), *decays.window.stride()[1:])
    return (*strides, *sizes[:6], sizes.slots, tile(sizes.slots))
