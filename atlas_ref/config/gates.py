"""The gates of the memory: where the token-dependent ones start, how far they go, and which are constants instead."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from atlas_ref.config.section import Section

GATE_RANK = 32
"""Rank of the map that makes a retention gate for each row or column of a memory, as in MIRAS (2504.13173)."""


class GatesConfig(Section):
    """Where the token-dependent gates of the memory start, how far they may go, and which are constants."""

    retention_kind: Literal["learned", "one", "retnet", "mamba2"]
    """learned of a token; one: nothing is forgotten; retnet: 1 - 2^(-5-h) in head h; mamba2: exp(-a step)"""
    momentum_kind: Literal["learned", "zero"]
    """learned of each token; zero: a write sees its own gradient alone"""
    step_kind: Literal["learned", "one"]
    """learned of each token; one: a constant"""
    window_kind: Literal["learned", "one"]
    """learned of each token and age; one: every pair in the window counts in full"""
    retention_init: float = Field(gt=0.0, lt=1.0)
    """share of the memory kept at each token, at the start; "span": what keeps half over the span of the data"""
    momentum_init: float = Field(gt=0.0, lt=1.0)
    """decay of the momentum, at the start"""
    momentum_max: float = Field(gt=0.0, lt=1.0)
    """upper bound of the momentum decay"""
    step_init: float = Field(gt=0.0, le=100.0)
    """inner step size, at the start; "chunk": what fits the chunk and the momentum"""
    step_max: float = Field(gt=0.0, le=100.0)
    """upper bound of the inner step size; "chunk": four thirds of what fits"""
    window_init: float = Field(gt=0.0, lt=1.0)
    """weight of each past token in the Omega window, at the start"""
    fast_heads: int = Field(ge=0, le=4096)
    """heads, the last ones, that start with a short memory and half the largest step"""
    fast_retention_init: float = Field(gt=0.0, lt=1.0)
    """share of the memory that the last fast head keeps at each token, at the start"""

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each gate that starts on or outside its bound."""
        for name in ("momentum", "step"):
            start, bound = getattr(self, f"{name}_init"), getattr(self, f"{name}_max")
            if start >= bound:
                field = f"model.memory.gates.{name}"
                yield f"{field}_init is {start}; it must be less than {field}_max, which is {bound}"
