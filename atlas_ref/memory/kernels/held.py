"""What the kernels of a linear memory hand to each other: where segments lie, sizes, gates, states at their borders."""

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor

from atlas_ref.memory.kernels.launching import LAUNCH, precision, tile
from atlas_ref.memory.state import Carry, MemoryState

FEATURE_BLOCK = 64
"""Features that a program holds at once where every token is looked at."""
TILE_OF_M = 4096
"""Numbers of M that a program of a scan holds: what stays in registers."""


class Sizes(NamedTuple):
    """The sizes of a call, and what its rule says: plain numbers, as kernels take them."""

    segments: int
    batch: int
    heads: int
    time: int
    tokens: int
    """of the longest segment"""
    past: int
    """tokens of the window before a segment"""
    features: int
    values: int
    chunk: int
    """0 where a window goes over the borders of chunks"""
    reach: int
    """segments whose windows may hold one token"""
    before: bool
    """whether a token reads before its own write"""
    anchor: bool
    """whether it reads the memory at the start of its segment"""
    normalised: bool
    always: bool
    """whether every segment opens in every row, so that the anchor is M itself"""

    @property
    def rows(self) -> int:
        """Return how many memories there are: one for each row and head."""
        return self.batch * self.heads

    @property
    def slots(self) -> int:
        """Return the tokens of a segment with those of the window before it."""
        return self.past + self.tokens

    @property
    def blocks(self) -> int:
        """Return how many blocks a scan cuts the values into."""
        return -(-self.values // self.value_tile)

    @property
    def value_tile(self) -> int:
        """Values of one block."""
        return min(tile(self.values), 32, max(16, TILE_OF_M // tile(self.features)))

    @property
    def scan_launch(self) -> dict[str, int]:
        """Return how a scan is launched: with twice the threads where features are wide."""
        return {**LAUNCH, "num_warps": 8} if self.features > FEATURE_BLOCK else LAUNCH

    def of_scan(self) -> tuple[int | bool | str, ...]:
        """Return what both scans take, in their order."""
        extents = (self.segments, self.batch, self.heads, self.time, self.tokens, self.past, self.features, self.values)
        tiles = (tile(self.tokens), tile(self.past), tile(self.features), self.value_tile)
        return (*extents, self.chunk, *tiles, self.normalised, self.always, precision())

    def of_tokens(self) -> tuple[int | bool | str, ...]:
        """Return what the kernels take that look at every token of a segment at once, in their order."""
        extents = (self.segments, self.batch, self.heads, self.time, self.tokens, self.past, self.features, self.values)
        tiles = (tile(self.tokens), tile(self.past), min(tile(self.features), FEATURE_BLOCK), tile(self.values))
        return (*extents, self.chunk, *tiles, self.before, self.anchor, self.normalised, precision())


class Pairs(NamedTuple):
    """Keys and values of a call, and those of the window before it."""

    keys: Float[Tensor, "batch time heads features"]
    values: Float[Tensor, "batch time heads values"]
    old_keys: Float[Tensor, "batch past heads features"]
    old_values: Float[Tensor, "batch past heads values"]


class Decays(NamedTuple):
    """What the two recurrences of `coordinates` consume."""

    retention: Float[Tensor, "batch time heads"]
    momentum: Float[Tensor, "batch time heads"]
    intake: Float[Tensor, "batch time heads"]
    release: Float[Tensor, "batch time heads"]
    window: Float[Tensor, "batch time heads window"]


class Mixing(NamedTuple):
    """W of every token, and the last rows of U; S and M stand for their coordinates."""

    inside: Float[Tensor, "segments batch heads tokens slots"]
    from_s: Float[Tensor, "segments batch heads tokens"]
    from_m: Float[Tensor, "segments batch heads tokens"]
    last_u: Float[Tensor, "segments batch heads slots"]
    last_u_s: Float[Tensor, "segments batch heads"]


class MixingGradients(NamedTuple):
    """Gradients of W as the tokens read it, and of the last rows of W and U, which a segment leaves."""

    inside: Float[Tensor, "segments batch heads tokens slots"]
    from_s: Float[Tensor, "segments batch heads tokens"]
    from_m: Float[Tensor, "segments batch heads tokens"]
    last_w: Float[Tensor, "segments batch heads slots"]
    last_u: Float[Tensor, "segments batch heads slots"]
    last_u_s: Float[Tensor, "segments batch heads"]


class Entered(NamedTuple):
    """What every segment enters with, `rounded` as every product takes it; the anchors are the weights where every
    segment opens."""

    weights: Float[Tensor, "segments batch heads values features"]
    momentum: Float[Tensor, "segments batch heads values features"]
    anchors: Float[Tensor, "segments batch heads values features"]


class Left(NamedTuple):
    """Gradients of what every segment leaves, `rounded` as every product takes them."""

    weights: Float[Tensor, "segments batch heads values features"]
    momentum: Float[Tensor, "segments batch heads values features"]


class Held(NamedTuple):
    """M, S and the anchor of every row."""

    weights: Float[Tensor, "batch heads values features"]
    momentum: Float[Tensor, "batch heads values features"]
    anchor: Float[Tensor, "batch heads values features"]

    @classmethod
    def of(cls, before: MemoryState | Carry) -> "Held":
        """Return what a memory of one matrix holds."""
        return cls(before.weights[0], before.momentum[0], before.anchor[0])

    def carry(self) -> Carry:
        """Return it as the reference has it."""
        return Carry((self.weights,), (self.momentum,), (self.anchor,))


class Borders(NamedTuple):
    """Where segments lie, [5, segments, batch]: first token, tokens, position of the first, resets, opens; M_0."""

    table: Int[Tensor, "5 segments batch"]
    initial: Float[Tensor, "heads values features"]
