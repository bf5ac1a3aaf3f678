"""The recurrence of the memory over tokens, by the reference."""

from collections.abc import Mapping
from functools import partial
from typing import Final

from atlas_ref.memory.recurrent import memory_recurrent
from spec_tests.port import Op
from spec_tests.ports.reference.memory import memory, traces
from spec_tests.ports.reference.tensors import Function

FUNCTIONS: Final[Mapping[Op, Function]] = {Op.MEMORY_SCAN: partial(memory, memory_recurrent)}
TAPS: Final[Mapping[Op, Function]] = {Op.MEMORY_SCAN: traces}
