"""The parallel form with the axes of MIRAS, by the reference."""

from collections.abc import Mapping
from functools import partial
from typing import Final

from atlas_ref.memory.chunked import memory_chunked
from spec_tests.port import Op
from spec_tests.ports.reference.miras import miras
from spec_tests.ports.reference.tensors import Function

FUNCTIONS: Final[Mapping[Op, Function]] = {Op.MIRAS_CHUNKED: partial(miras, memory_chunked)}
