"""docs/spec/marks.md in numpy: the block of chapter BLOCK with a position for each of its two beginnings."""

from collections.abc import Mapping
from typing import Final

from spec_tests.chapters.blocks.operation import MODEL
from spec_tests.chapters.blocks.oracle import Arrays, block, positions, seen_after
from spec_tests.chapters.memory_step.loop import Config
from spec_tests.oracle.answer import Function
from spec_tests.oracle.sums import Sums
from spec_tests.port import Array, Op


def whole(config: Config, x: Arrays) -> Config:
    """Return every key of the block that a question asks."""
    return {**MODEL, **config, "span": x["cache_keys"].shape[1] + 1, "inner_grad": "full"}


def mag_block_marks(config: Config, x: Arrays, sums: Sums) -> dict[str, Array]:
    """Return y and the state after the call."""
    context = positions(x["context"], x["reset_context"])
    answer = block(whole(config, x), {**x, "reset": x["reset_memory"]}, context, sums)
    return {**answer, "context": seen_after(context, x["context"])}


ANSWERS: Final[Mapping[Op, Function]] = {Op.MAG_BLOCK_MARKS: mag_block_marks}
