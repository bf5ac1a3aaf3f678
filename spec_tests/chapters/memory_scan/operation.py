"""Level 2: the recurrence over a sequence."""

from typing import Final

from spec_tests.chapters.memory_step.operation import memory_form
from spec_tests.port import Op

ROWS: Final = (memory_form(Op.MEMORY_SCAN, level=2, time="time", traced=True),)
