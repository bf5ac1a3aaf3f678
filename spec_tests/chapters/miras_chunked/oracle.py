"""docs/spec/miras_chunked.md in numpy: the loop again, because that is what the parallel form must equal."""

from collections.abc import Mapping
from typing import Final

from spec_tests.chapters.miras_chunked.operation import ROWS
from spec_tests.chapters.miras_scan.columns import in_columns
from spec_tests.chapters.miras_scan.loop import Miras
from spec_tests.oracle.answer import Arrays, Config, Function, Slopes
from spec_tests.oracle.sums import Sums
from spec_tests.port import Op


def _miras_chunked(config: Config, x: Arrays, sums: Sums) -> Arrays:
    return Miras(config, sums).run(x)


ANSWERS: Final[Mapping[Op, Function]] = {Op.MIRAS_CHUNKED: _miras_chunked}
SLOPES: Final[Mapping[Op, Slopes]] = {Op.MIRAS_CHUNKED: in_columns(ROWS[0], _miras_chunked)}
