"""Level 3: the parallel form."""

from typing import Final

from spec_tests.chapters.memory_step.operation import memory_form
from spec_tests.port import Op

ROWS: Final = (memory_form(Op.MEMORY_CHUNKED, level=3, time="time", traced=False),)
