"""The model section of a run of the family `quadratic`: two layers around a square (arXiv 2301.02679).

It stands in the place of the section of an ATLAS model where its first field says `family = "quadratic"`.
"""

from typing import Literal

from pydantic import Field

from atlas_ref.config.section import Section


class QuadraticConfig(Section):
    """A network of the family `quadratic`."""

    family: Literal["quadratic"]
    """what tells this section from that of an ATLAS model"""
    vocab_size: int = Field(ge=2, le=1_000_000)
    """tokens of the model; a tokenizer of text may have fewer, a generated task has exactly these"""
    d_model: int = Field(ge=1, le=65_536)
    """width of the embeddings, of which the sum is taken"""
    hidden: int = Field(ge=1, le=1_000_000)
    """width of the layer whose numbers are squared"""

    @property
    def grid(self) -> int:
        """Tokens of which documents are best made whole multiples: any, as there are no chunks."""
        return 1
