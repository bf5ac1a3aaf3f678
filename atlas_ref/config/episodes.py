"""Episodes of storage and retrieval: what is stored, what is asked for, and what each phase weighs."""

from typing import Literal

from pydantic import Field

from atlas_ref.config.section import Section

SUM_TOKENS = 5
"""Tokens of `a + b = c`."""
EPISODE_SIGNS = 3
"""Tokens of episodes besides text and numbers: the operation, the equals sign and the mask."""


class EpisodesConfig(Section):
    """Episodes: pieces of text and arithmetic are stored, then asked for again with their answers masked."""

    pieces: int = Field(ge=1, le=100_000)
    """pieces of each phase, each a context of its own"""
    length: int = Field(ge=SUM_TOKENS, le=1_000_000)
    """tokens of a piece; a sum takes five"""
    text_share: float = Field(ge=0.0, le=1.0)
    """chance of a piece to be text; 0.0: no text is read"""
    answers: Literal["true", "random"]
    """words of the text and sums, or drawn anew for each episode, so that nothing but storage knows them"""
    masks: int = Field(ge=1, le=100_000)
    """words that are asked for of a piece of text; of arithmetic every sum is"""
    words: int = Field(ge=2, le=100_000)
    """different words that random answers of text are drawn from, the most frequent ones of a single token"""
    storage_weight: float = Field(ge=0.0, le=1e3)
    """of the mean loss of the phase in which answers are visible"""
    retrieval_weight: float = Field(gt=0.0, le=1e3)
    """of the mean loss of masked answers"""
    storage_floor: float = Field(ge=0.0, lt=1.0)
    """least gate while storing, where that of the schedule is not larger"""
    retrieval_floor: float = Field(ge=0.0, lt=1.0)
    """least gate while retrieving"""

    @property
    def tokens(self) -> int:
        """Tokens of an episode: both phases."""
        return 2 * self.pieces * self.length

    @property
    def sums(self) -> int:
        """Sums of a piece of arithmetic."""
        return self.length // SUM_TOKENS

    def vocab_size(self, text: int, modulus: int) -> int:
        """The tokens of the text, if any is read, then the numbers, the operation, the equals sign and the mask."""
        return (text if self.text_share else 0) + modulus + EPISODE_SIGNS
