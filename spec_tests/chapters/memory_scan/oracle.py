"""docs/spec/memory_scan.md in numpy: every turn of the loop, with what each takes in and leaves."""

from collections.abc import Mapping
from typing import Final

from spec_tests.chapters.memory_step.traced import Traced
from spec_tests.oracle.answer import Arrays, Config, Function
from spec_tests.oracle.sums import Sums
from spec_tests.port import Op


def _memory_scan(config: Config, x: Arrays, sums: Sums) -> Arrays:
    outputs, taps = Traced(config, sums).trace(x)
    return outputs | taps


ANSWERS: Final[Mapping[Op, Function]] = {Op.MEMORY_SCAN: _memory_scan}
