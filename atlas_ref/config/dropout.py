"""The section of the configuration that says how much of what a model sees in training is left out."""

from pydantic import Field

from atlas_ref.config.section import Section


class DropoutConfig(Section):
    """Shares that are left out in training alone (`functional.dropout`); 0.0 is none."""

    embedding: float = Field(ge=0.0, lt=1.0)
    """share of the embeddings' components that training leaves out"""
    attention: float = Field(ge=0.0, lt=1.0)
    """share of the attention weights of mag and mal that training leaves out"""
    memory: float = Field(ge=0.0, lt=1.0)
    """share of the components of what the memory reads, behind its norm, that training leaves out"""
    residual: float = Field(ge=0.0, lt=1.0)
    """share of the components that blocks and feed-forwards add to the stream that training leaves out"""

    @property
    def acts(self) -> bool:
        """Whether anything is left out."""
        return any((self.embedding, self.attention, self.memory, self.residual))
