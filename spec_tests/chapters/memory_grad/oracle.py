"""docs/spec/memory_grad.md in numpy: derivatives of the loop, turn after turn taken back."""

from collections.abc import Mapping
from typing import Final

from spec_tests.chapters.memory_chunked import oracle as memory_chunked
from spec_tests.chapters.memory_grad.adjoint import Adjoint
from spec_tests.oracle.answer import Arrays, Config, Function, Slopes
from spec_tests.port import Op

FORMS: Final = (Op.MEMORY_SCAN, Op.MEMORY_CHUNKED, Op.MEMORY_GRAD)
"""Sequences too long for one complex step an element: their gradients are the loop's, taken back turn by turn."""


def _slopes(config: Config, x: Arrays, asked: Arrays) -> Arrays:
    return Adjoint(config).gradients(x, asked)


ANSWERS: Final[Mapping[Op, Function]] = {Op.MEMORY_GRAD: memory_chunked.ANSWERS[Op.MEMORY_CHUNKED]}
SLOPES: Final[Mapping[Op, Slopes]] = dict.fromkeys(FORMS, _slopes)
