"""What a run under Newton-Schulz is given, how it is cut, and what its kernels hand to each other (`orthogonal`)."""

from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from atlas_ref.functional.newton_schulz import CoefficientSet, step_coefficients
from atlas_ref.memory.kernels.known import halves, near
from atlas_ref.memory.kernels.launching import tile
from atlas_ref.memory.rules import MemoryRule, offset

VALUE_BLOCK = 16
"""Values of a program that goes over the tokens that write."""
FEATURE_BLOCK = 64
"""Features of a program that finds what no segment waits for."""
FEATURES_AT_ONCE = 128
"""Features of the larger tile of a matrix that is cut in two."""
GROUP = 8
"""Tokens that write of one program, which hold their errors in common."""
AT_ONCE = 2**15
"""Matrices whose iterations the backward pass keeps at once: 512 MiB of where they start and of cotangents, 256 MiB of
where they end in half precision."""


class Iteration(NamedTuple):
    """The table of the steps of Newton-Schulz (`iteration`), and what its start adds to the norm."""

    table: Float[Tensor, "steps 4"]
    offset: float
    half: bool
    """whether products are of half precision (`known.halves`)"""

    @classmethod
    def of(cls, rule: MemoryRule, device: torch.device) -> "Iteration":
        """Return that of a rule."""
        table = table_of(rule.coefficients, rule.newton_schulz_steps, device)
        return cls(table, offset(rule), halves(rule))

    @property
    def kind(self) -> torch.dtype:
        """Return the precision of what products alone read."""
        return torch.float16 if self.half else torch.float32


class Entering(NamedTuple):
    """What every segment is given: its tokens, and the coordinates of `orthogonalised._segment`."""

    keys: Float[Tensor, "segments batch heads slots features"]
    values: Float[Tensor, "segments batch heads slots values"]
    shares: Float[Tensor, "segments batch heads slots"]
    queries: Float[Tensor, "segments batch heads tokens features"]
    writing: Float[Tensor, "segments batch heads writers slots"]
    writing_s: Float[Tensor, "segments batch heads writers 1"]
    u: Float[Tensor, "segments batch heads slots"]
    u_s: Float[Tensor, "segments batch heads 1"]
    w: Float[Tensor, "segments batch heads writers_and_m"]
    mix: Float[Tensor, "segments batch heads writers_and_m tokens"]


class Sizes(NamedTuple):
    """The sizes of a segment, as the kernels take them."""

    segments: int
    rows: int
    heads: int
    writers: int
    tokens: int
    slots: int
    features: int
    values: int

    @property
    def blocks(self) -> int:
        """How many blocks the values are cut into, where a program goes over the tokens that write."""
        return -(-self.values // VALUE_BLOCK)

    @property
    def launch(self) -> dict[str, int]:
        """How a program that holds whole matrices is launched: so that three of them fit on a processor, if they are
        small."""
        return {"num_warps": 4, "num_stages": 1, **({"maxnreg": 168} if self.features <= 64 else {})}

    @property
    def launch_rows(self) -> dict[str, int]:
        """How a program that goes over the tokens that write is launched."""
        return {"num_warps": 4 if self.features <= 64 else 8, "num_stages": 1}

    @property
    def feature_block(self) -> int:
        """Features of a program that finds what no segment waits for."""
        return min(tile(self.features), FEATURE_BLOCK)

    @property
    def parts(self) -> int:
        """How many blocks the features are cut into there."""
        return -(-self.features // self.feature_block)

    @property
    def stretch(self) -> int:
        """How many segments the backward pass has at once."""
        return min(self.segments, max(1, AT_ONCE // (self.rows * self.writers)))

    @property
    def tiles(self) -> tuple[int, int, int, int]:
        """The tiles of tokens, slots, features and values."""
        return tile(self.tokens), tile(self.slots), tile(self.features), tile(self.values)

    @property
    def cut(self) -> tuple[int, int]:
        """The tile of features and that of their tail, where a program holds whole matrices."""
        whole = min(tile(self.features), FEATURES_AT_ONCE)
        return whole, 0 if self.features <= whole else tile(self.features - whole)

    @classmethod
    def of(cls, given: Entering) -> "Sizes":
        """Return the sizes of what the segments are given."""
        segments, batch, heads, slots, features = given.keys.shape
        writers, tokens = given.writing.shape[3], given.queries.shape[3]
        return cls(segments, batch * heads, heads, writers, tokens, slots, features, given.values.shape[-1])


class Momenta(NamedTuple):
    """X_i, t_i and ||S_i|| + offset (`orthogonal_write`) of the writing tokens of some segments."""

    matrices: Float[Tensor, "writers values features"]
    scales: Float[Tensor, " writers"]
    wholes: Float[Tensor, " writers"]

    @classmethod
    def room(cls, given: Entering, sizes: Sizes, segments: int, kind: torch.dtype) -> "Momenta":
        """Return room for those of some segments, matrices in the precision `kind`."""
        count = segments * sizes.rows * sizes.writers
        matrices = given.keys.new_empty(count, sizes.values, sizes.features, dtype=kind)
        return cls(matrices, given.keys.new_empty(count), given.keys.new_empty(count))


def shares_of(rule: MemoryRule, keys: Tensor) -> Tensor:
    """Return 1 / max(1, kappa) of every slot, or 1 where the rule does not divide (`factors`)."""
    return 1.0 / keys.square().sum(-1).clamp(min=1.0) if rule.normalised else torch.ones_like(keys[..., 0])


@lru_cache(maxsize=16)
def table_of(coefficients: CoefficientSet, steps: int, device: torch.device) -> Tensor:
    """Return the table of the steps (`iteration`) where the kernels read it."""
    rows = [
        (near(a), b * near(a) / a, c * near(a) / a, a / near(a)) for a, b, c in step_coefficients(coefficients, steps)
    ]
    return torch.tensor(rows, device=device).view(steps, 4)
