"""Level 3: the parallel form with every axis of MIRAS."""

from typing import Final

from spec_tests.chapters.miras_scan.operation import AXES, miras_form
from spec_tests.port import Op

ROWS: Final = (miras_form(Op.MIRAS_CHUNKED, level=3, keys=AXES, traced=False),)
