"""What the kernels of the MLP memory hand to each other: both matrices, and a group of segments at a time.

The forward pass keeps M, S and the anchor where a group begins. The backward pass writes the group again, and holds for
its segments alone what each token had of every hidden unit.
"""

from math import isqrt
from typing import Final, NamedTuple

from jaxtyping import Float
from torch import Tensor

from atlas_ref.memory.kernels.held import Sizes
from atlas_ref.memory.kernels.launching import precision, tile

BLOCK: Final = 32
"""Hidden units that a program holds at once."""
NARROW: Final = 64
"""Slots of a segment up to which a program has 128 threads."""


class Layers(NamedTuple):
    """W1 and W2 of each memory, or what belongs to them."""

    outer: Float[Tensor, "*memories values hidden"]
    inner: Float[Tensor, "*memories hidden features"]

    def at(self, slot: int) -> "Layers":
        """Return those of one slot."""
        return Layers(self.outer[slot], self.inner[slot])

    def take(self, slot: int, given: "Layers") -> None:
        """Put the numbers of both into a slot."""
        self.outer[slot].copy_(given.outer)
        self.inner[slot].copy_(given.inner)

    def copied(self) -> "Layers":
        """Return both with numbers of their own."""
        return Layers(self.outer.clone(), self.inner.clone())


class States(NamedTuple):
    """What the segments of a group enter with, and in the last slot what the last one leaves.

    The anchors are the weights where every segment opens in every row.
    """

    weights: Layers
    momentum: Layers
    anchors: Layers

    def at(self, slot: int) -> "States":
        """Return those of one slot."""
        return aliased([layers.at(slot) for layers in self[: self.apart]])

    def take(self, slot: int, given: "States") -> None:
        """Put the numbers of all into a slot."""
        for layers, new in zip(self[: self.apart], given, strict=False):
            layers.take(slot, new)

    def copied(self) -> "States":
        """Return all with numbers of their own."""
        return aliased([layers.copied() for layers in self[: self.apart]])

    @property
    def apart(self) -> int:
        """Return how many of the three have numbers of their own."""
        return 2 if self.anchors.outer is self.weights.outer else 3


def aliased(own: list[Layers]) -> States:
    """Return states from those that have numbers of their own."""
    return States(*own, *own[: 3 - len(own)])


class Known(NamedTuple):
    """What was known of every slot at its anchor: e, kappa and sum_j gelu'(z_j)^2 ||W1[:, j]||^2."""

    errors: Float[Tensor, "segments batch heads slots values"]
    curvature: Float[Tensor, "segments batch heads slots"]
    slopes: Float[Tensor, "segments batch heads slots"]


class Units(NamedTuple):
    """What slots (z, X A1, dH and dL) and tokens (what is asked, and dZ) of a group have of every hidden unit.

    The first three are all that the forward pass has.
    """

    before: Float[Tensor, "group batch heads slots hidden"]
    felt: Float[Tensor, "group batch heads slots hidden"]
    asked: Float[Tensor, "group batch heads tokens hidden"]
    d_hidden: Float[Tensor, "group batch heads slots hidden"]
    d_left: Float[Tensor, "group batch heads slots hidden"]
    d_asked: Float[Tensor, "group batch heads tokens hidden"]


class Passed(NamedTuple):
    """What one kernel of the backward pass leaves to the next: sums over blocks of hidden units are made there."""

    to_m: Float[Tensor, "group batch heads blocks tokens"]
    to_s: Float[Tensor, "group batch heads blocks tokens"]
    parts: Float[Tensor, "batch heads blocks slots values"]
    d_share: Float[Tensor, "group batch heads slots values"]
    d_near: Float[Tensor, "group batch heads slots features"]
    d_close: Float[Tensor, "group batch heads tokens slots"]
    d_errors: Float[Tensor, "group batch heads slots values"]
    d_curvature: Float[Tensor, "group batch heads slots"]
    pull: Float[Tensor, "group batch heads slots"]


def group_of(segments: int) -> int:
    """Return how many segments a group has: of N with G each N / G states are kept, and 2 G are held in a group."""
    return max(1, isqrt(segments // 2))


def blocks_of(hidden: int) -> int:
    """Return how many blocks the hidden units are cut into."""
    return -(-hidden // min(tile(hidden), BLOCK))


def empty_states(like: States, slots: int) -> States:
    """Return states without numbers for segments that begin as `like`."""
    return aliased([Layers(*(x.new_empty(slots, *x.shape) for x in layers)) for layers in like[: like.apart]])


def empty_known(sizes: Sizes, like: Tensor) -> Known:
    """Return what is kept of every slot, without numbers."""
    rows = (sizes.segments, sizes.batch, sizes.heads, sizes.slots)
    return Known(like.new_empty(*rows, sizes.values), like.new_empty(rows), like.new_empty(rows))


def empty_units(sizes: Sizes, hidden: int, like: Tensor, back: bool) -> Units:
    """Return what a group has of hidden units, without numbers; gradients are there where a pass goes `back`."""
    segments = group_of(sizes.segments)
    rows = (sizes.batch, sizes.heads, sizes.slots, hidden)
    before, felt = like.new_empty(2, segments, *rows)
    d_hidden, d_left = like.new_empty(2, segments if back else 0, *rows)
    rows = (sizes.batch, sizes.heads, sizes.tokens, hidden)
    asked, d_asked = (like.new_empty(n, *rows) for n in (segments, segments if back else 0))
    return Units(before, felt, asked, d_hidden, d_left, d_asked)


def empty_passed(sizes: Sizes, hidden: int, like: Tensor) -> Passed:
    """Return what goes from kernel to kernel, without numbers."""
    new, blocks, memories = like.new_empty, blocks_of(hidden), (sizes.batch, sizes.heads)
    group = (group_of(sizes.segments), *memories)
    slots = (*group, sizes.slots)
    to_m, to_s = new(2, *group, blocks, sizes.tokens)
    d_share, d_errors = new(2, *slots, sizes.values)
    d_curvature, pull = new(2, *slots)
    parts, near = new(*memories, blocks, sizes.slots, sizes.values), new(*slots, sizes.features)
    close = new(*group, sizes.tokens, sizes.slots)
    return Passed(to_m, to_s, parts, d_share, near, close, d_errors, d_curvature, pull)


def of_kernels(sizes: Sizes, hidden: int) -> tuple[int | bool | str, ...]:
    """Return what all kernels take behind the first segment of a group and what they skip of it, in their order."""
    extents = (sizes.segments, sizes.batch, sizes.heads, sizes.time, sizes.tokens, sizes.past)
    widths = (sizes.features, sizes.values, hidden, sizes.chunk)
    tiles = (tile(sizes.tokens), tile(sizes.slots), tile(sizes.features), tile(sizes.values), min(tile(hidden), BLOCK))
    return (*extents, *widths, *tiles, sizes.before, sizes.normalised, precision())


def launch(sizes: Sizes) -> dict[str, int]:
    """Return how all kernels are launched: with twice the threads where a segment has more slots.

    Not where a product of float32 is of three parts, which with more threads reads what is not its own (`orthogonal`).
    """
    return {"num_warps": 4 if tile(sizes.slots) <= NARROW or precision() == "tf32x3" else 8, "num_stages": 1}
