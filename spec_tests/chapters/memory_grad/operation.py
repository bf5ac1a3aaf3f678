"""Level 5: the gradients of the memory."""

from typing import Final

from spec_tests.chapters.memory_step.operation import memory_form
from spec_tests.port import Op

ROWS: Final = (
    # The form that a port trains with: the one whose gradients matter.
    memory_form(Op.MEMORY_GRAD, level=5, time="time", traced=False),
)
