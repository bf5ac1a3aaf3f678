"""The model section of a run of the family `transformer`: attention and dense layers without norms and biases.

It stands in the place of the section of an ATLAS model where its first field says `family = "transformer"`.
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from atlas_ref.config.section import Section


class TransformerConfig(Section):
    """A network of the family `transformer`."""

    family: Literal["transformer"]
    """what tells this section from that of an ATLAS model"""
    vocab_size: int = Field(ge=2, le=1_000_000)
    """tokens of the model; a tokenizer of text may have fewer, a generated task has exactly these"""
    d_model: int = Field(ge=1, le=65_536)
    """width of the residual stream"""
    n_layers: int = Field(ge=1, le=1024)
    """layers, each of attention and a feed-forward with relu"""
    n_heads: int = Field(ge=1, le=1024)
    """heads of its attention"""
    feed_forward_dim: int = Field(ge=1, le=1_000_000)
    """hidden width of its feed-forward"""
    positions: int = Field(ge=1, le=100_000)
    """learned positions, which no document may be longer than"""

    @property
    def grid(self) -> int:
        """Tokens of which documents are best made whole multiples: any, as there are no chunks."""
        return 1

    def problems(self) -> Iterator[str]:
        """Yield a sentence for heads that do not divide the width."""
        if self.d_model % self.n_heads:
            yield f"model.d_model is {self.d_model}; it must be a multiple of model.n_heads, which is {self.n_heads}"
