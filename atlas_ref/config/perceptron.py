"""The model section of a run of the family `perceptron`: dense layers over the sum of what two numbers are given.

It stands in the place of the section of an ATLAS model where its first field says `family = "perceptron"`.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from atlas_ref.config.section import Section, listed

Widths = Annotated[tuple[Annotated[int, Field(ge=1, le=1_000_000)], ...], BeforeValidator(listed)]


class PerceptronConfig(Section):
    """A network of the family `perceptron`."""

    family: Literal["perceptron"]
    """what tells this section from that of an ATLAS model"""
    vocab_size: int = Field(ge=2, le=1_000_000)
    """tokens of the model; a tokenizer of text may have fewer, a generated task has exactly these"""
    d_model: int = Field(ge=0, le=65_536)
    """width of the learned rows of the numbers, whose sum is taken; 0: none, each number is one-hot at its own place"""
    hidden: Widths
    """widths of the layers whose numbers are activated"""
    activation: Literal["square", "relu"]
    """what becomes of each number of those layers"""

    def problems(self) -> Iterator[str]:
        """Yield a sentence for a network without layers."""
        if not self.hidden:
            yield "model.hidden is []; it must have one width at least"

    @property
    def grid(self) -> int:
        """Tokens of which documents are best made whole multiples: any, as there are no chunks."""
        return 1
