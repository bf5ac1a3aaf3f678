"""docs/spec/miras_scan.md in numpy: every turn of the loop, with what each takes in and leaves."""

from collections.abc import Mapping
from typing import Final

from spec_tests.chapters.miras_scan.columns import in_columns
from spec_tests.chapters.miras_scan.loop import TracedMiras
from spec_tests.chapters.miras_scan.operation import ROWS
from spec_tests.oracle.answer import Arrays, Config, Function, Slopes
from spec_tests.oracle.sums import Sums
from spec_tests.port import Op


def _miras_scan(config: Config, x: Arrays, sums: Sums) -> Arrays:
    outputs, taps = TracedMiras(config, sums).trace(x)
    return outputs | taps


ANSWERS: Final[Mapping[Op, Function]] = {Op.MIRAS_SCAN: _miras_scan}
SLOPES: Final[Mapping[Op, Slopes]] = {Op.MIRAS_SCAN: in_columns(ROWS[0], _miras_scan)}
