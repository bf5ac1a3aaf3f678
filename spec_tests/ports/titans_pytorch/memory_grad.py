"""The form of the memory that trains, by titans-pytorch."""

from collections.abc import Mapping
from functools import partial
from typing import Final

from spec_tests.port import Op
from spec_tests.ports.titans_pytorch.memory import remember
from spec_tests.ports.titans_pytorch.tensors import Function

FUNCTIONS: Final[Mapping[Op, Function]] = {Op.MEMORY_GRAD: partial(remember, one_by_one=False)}
