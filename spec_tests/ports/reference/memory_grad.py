"""The form of the memory that trains, by the reference."""

from collections.abc import Mapping
from functools import partial
from typing import Final

from atlas_ref.memory.chunked import memory_chunked
from spec_tests.port import Op
from spec_tests.ports.reference.memory import memory
from spec_tests.ports.reference.tensors import Function

FUNCTIONS: Final[Mapping[Op, Function]] = {Op.MEMORY_GRAD: partial(memory, memory_chunked)}
