"""docs/spec/memory_hierarchical.md in numpy: every memory, one token after another, and the sum of their reads."""

from collections.abc import Mapping
from typing import Final

from spec_tests.chapters.memory_hierarchical.loop import Hierarchy
from spec_tests.chapters.memory_hierarchical.operation import ROWS
from spec_tests.chapters.miras_scan.columns import in_columns
from spec_tests.oracle.answer import Arrays, Config, Function, Slopes
from spec_tests.oracle.sums import Sums
from spec_tests.port import Op


def _memory_hierarchical(config: Config, x: Arrays, sums: Sums) -> Arrays:
    return Hierarchy(config, sums).run(x)


ANSWERS: Final[Mapping[Op, Function]] = {Op.MEMORY_HIERARCHICAL: _memory_hierarchical}
SLOPES: Final[Mapping[Op, Slopes]] = {Op.MEMORY_HIERARCHICAL: in_columns(ROWS[0], _memory_hierarchical)}
