"""Level 3: the parallel form with every axis of MIRAS that has one."""

from typing import Final

from spec_tests.chapters.miras_scan.operation import AXES, miras_form
from spec_tests.port import Op

# A proximal step is no sum of what came before, so no form takes many tokens of it at once.
_KEYS: Final = {**AXES, "retention": ("dual",)}

ROWS: Final = (miras_form(Op.MIRAS_CHUNKED, level=3, keys=_KEYS, traced=False),)
