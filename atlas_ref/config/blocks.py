"""Options of single blocks: memory as context (MAC) and memory as a layer (MAL), 2501.00663 section 4."""

from typing import Literal

from pydantic import Field

from atlas_ref.config.section import Section


class MacConfig(Section):
    """Attention over the tokens of a segment and over rows read from the memory at its start."""

    segment: int = Field(ge=1, le=65_536)
    """tokens of a segment, whole chunks, counted from the start of the document"""
    rows: Literal["causal", "previous_segment", "learned"]
    """what asks the memory for rows: each token for its own, the tokens of the segment before, or learned queries"""
    learned_rows: int = Field(ge=1, le=4096)
    """number of learned queries, where rows has them"""
    write_from: Literal["attention", "input"]
    """what the memory writes and reads: what attention returns, or what attention sees"""


class MalConfig(Section):
    """The memory first, then attention over what it returns."""

    inner_residual: bool
    """whether memory and attention are two sublayers, each with a norm and a residual of its own"""
