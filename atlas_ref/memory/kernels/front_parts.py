"""What the kernels of the front share: inputs of an age, the convolution, lengths of vectors, channels of a head."""

import triton.language as tl

from atlas_ref.memory.kernels.launching import compiled


@compiled
def inputs(
    x: tl.tensor,
    tail: tl.tensor,
    row: tl.tensor,
    begin: tl.tensor,
    t: tl.tensor,
    place: tl.tensor,
    channel: tl.tensor,
    held: tl.tensor,
    J: tl.constexpr,
    TIME: tl.tensor,
    CHANNELS: tl.tensor,
    KERNEL: tl.constexpr,
) -> tl.tensor:
    """Return the inputs of age J of the tokens `begin` + t, zero where they are of another context."""
    then = begin + t - J
    seen = (begin + t < TIME) & (place >= J)
    entry = (t - J)[:, None] * CHANNELS + channel[None, :]
    now, old = x + (row * TIME + begin) * CHANNELS, tail + (row * (KERNEL - 1) + KERNEL - 1 + begin) * CHANNELS
    found = tl.load(now + entry, mask=(seen & (then >= 0))[:, None] & held[None, :], other=0.0).to(tl.float32)
    return found + tl.load(old + entry, mask=(seen & (then < 0))[:, None] & held[None, :], other=0.0).to(tl.float32)


@compiled
def filtered(
    x: tl.tensor,
    tail: tl.tensor,
    weight: tl.tensor,
    row: tl.tensor,
    begin: tl.tensor,
    t: tl.tensor,
    place: tl.tensor,
    channel: tl.tensor,
    held: tl.tensor,
    TIME: tl.tensor,
    CHANNELS: tl.tensor,
    KERNEL: tl.constexpr,
    TOKENS: tl.constexpr,
    TILE: tl.constexpr,
) -> tl.tensor:
    """Return y of the tokens `begin` + t (`front`): what the filters make of them."""
    y = tl.zeros([TOKENS, TILE], tl.float32)
    for j in tl.static_range(KERNEL):
        factor = tl.load(weight + (KERNEL - 1 - j) * CHANNELS + channel, mask=held, other=0.0).to(tl.float32)
        y += factor[None, :] * inputs(x, tail, row, begin, t, place, channel, held, j, TIME, CHANNELS, KERNEL)
    return y


@compiled
def length_of(z: tl.tensor, EPS: tl.tensor) -> tl.tensor:
    """Return (||z||^2 + eps^2)^{1/2} of each row, squaring nothing above one."""
    largest = tl.maximum(tl.max(tl.abs(z), 1), EPS)
    scaled = z / largest[:, None]
    return largest * tl.sqrt(tl.sum(scaled * scaled, 1) + (EPS / largest) * (EPS / largest))


@compiled
def of_head(KEYS: tl.constexpr, VALUES: tl.constexpr, HEADS: tl.tensor) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Return what a program makes (0 queries, 1 keys, 2 values), the first channel of its head, and how many it has."""
    head = tl.program_id(1)
    kind = head // HEADS
    first = tl.where(kind < 2, head * KEYS, 2 * HEADS * KEYS + (head - 2 * HEADS) * VALUES)
    return kind, first, tl.where(kind < 2, KEYS, VALUES)
