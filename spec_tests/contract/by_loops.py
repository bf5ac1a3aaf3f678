"""A call beside the loops of its chapter: every result, and the derivative along a direction of every input.

The derivative is a complex step through the loops, so nothing that a port can get wrong is shared. One direction costs
one run of the loops however long the call is: calls longer than any block of a port's own loops can be asked.
"""

from collections.abc import Iterator, Mapping
from functools import cache, partial
from hashlib import blake2b
from typing import Final

import numpy as np

from spec_tests.contract.driver import Result, run, run_with_gradients
from spec_tests.contract.operations import OPERATIONS
from spec_tests.discovery import furniture
from spec_tests.drawing.inputs import generator
from spec_tests.oracle.answer import Function
from spec_tests.oracle.complex_step import along
from spec_tests.oracle.sums import ANY_ORDER
from spec_tests.port import Array, Numerics, Op, Port, Scalar

Config = Mapping[str, Scalar]
Inputs = Mapping[str, Array]

SLOPES: Final[Mapping[Numerics, float]] = {Numerics.F64: 1e-9, Numerics.F32: 1e-3, Numerics.BF16_IO: 2e-2}
"""Largest error of a slope along a direction of random signs, relative to the length of the gradient."""


KEPT: Final = 256
_LAST: Final[dict[bytes, Mapping[str, Array]]] = {}
"""The last answers of the loops, by what was asked."""


@cache
def loops() -> Mapping[Op, Function]:
    """Return what the oracle of each chapter answers."""
    return {op: answer for oracle in furniture("oracle") for op, answer in oracle.ANSWERS.items()}


def assert_results(
    port: Port, op: Op, numerics: Numerics, config: Config, inputs: Inputs, *, factor: float = 4.0
) -> None:
    """Assert that every result of a call is that of the loops, within `factor` times the tolerance."""
    assert_answers(run(port, op, numerics, inputs, **config), config, factor=factor)


def assert_answers(result: Result, config: Config, *, factor: float = 4.0) -> None:
    """Assert that every result of an answer is that of the loops, within `factor` times the tolerance."""
    answer = _answer(result.op, config)(result.inputs)
    for tensor in OPERATIONS[result.op].outputs:
        result.assert_close(tensor.name, answer[tensor.name], factor=factor)


def assert_slopes(
    port: Port, op: Op, numerics: Numerics, config: Config, inputs: Inputs, *, apart: bool, seed: int = 1
) -> None:
    """Assert the gradients of a random cotangent of every floating-point output, along directions of random signs.

    `apart`: each input moves by itself, which shows a gradient that is missing wholly or in part; else all move at
    once, which shows one that stops at a border between tokens, for one run of the loops.
    """
    shapes = {name: value.shape for name, value in _answer(op, config)(inputs).items()}
    asked = {name: single(generator(seed).standard_normal(shapes[name])) for name in _floating(op, "outputs")}
    result = run_with_gradients(port, op, numerics, inputs, asked, **config)
    for name in _floating(op, "inputs") if apart else ():
        assert_along(result, config, asked, name)
    if not apart:
        assert_along(result, config, asked, *_floating(op, "inputs"))


def assert_along(result: Result, config: Config, asked: Inputs, *names: str) -> None:
    """Assert the gradients of some inputs, in an answer, along a direction of random signs in all of them together."""
    op, numerics = result.op, result.numerics
    places = {name: number for number, name in enumerate(_floating(op, "inputs"))}
    signs = {name: _signs(2 + places[name], result.inputs[name]) for name in names}
    wanted = along(_answer(op, config), result.inputs, signs, asked)
    got = sum(float((result[f"grad.{name}"] * sign).sum()) for name, sign in signs.items())
    length = float(np.sqrt(sum((result[f"grad.{name}"] ** 2).sum() for name in names)))
    what = f"{op} gradient of {names[0] if len(names) == 1 else 'all inputs'} in {numerics}"
    assert abs(got - wanted) <= SLOPES[numerics] * length + 1e-9, f"{what}: slope {got:.9g}, not {wanted:.9g}"


def single(value: Array) -> Array:
    """Return numbers that float32 holds: cotangents that every profile gets alike."""
    return value.astype(np.float32).astype(np.float64)


def _answer(op: Op, config: Config) -> partial[Mapping[str, Array]]:
    return partial(_loops_answer, op, OPERATIONS[op].configured(config))


def _loops_answer(op: Op, config: Config, inputs: Inputs) -> Mapping[str, Array]:
    """Return what the loops answer; in every profile a test asks the same, so the last answers are kept."""
    key = digest(op, config, inputs)
    if key not in _LAST:
        while len(_LAST) >= KEPT:
            del _LAST[next(iter(_LAST))]
        _LAST[key] = loops()[op](config, inputs, ANY_ORDER)
    return _LAST[key]


def digest(op: Op, config: Config, inputs: Inputs) -> bytes:
    """Return what tells questions apart."""
    found = blake2b(f"{op} {sorted(config.items())}".encode(), digest_size=16)
    for name, value in sorted(inputs.items()):
        found.update(f"{name} {value.shape} {value.dtype}".encode() + value.tobytes())
    return found.digest()


def _floating(op: Op, side: str) -> Iterator[str]:
    return (tensor.name for tensor in getattr(OPERATIONS[op], side) if tensor.role != "index")


def _signs(seed: int, value: Array) -> Array:
    return generator(seed).choice(np.array([-1.0, 1.0]), np.shape(value))
