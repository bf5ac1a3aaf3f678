"""What a port raises is told with the place in the port and the shapes of what it was given."""

import re
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from spec_tests.contract.driver import ask, prepare
from spec_tests.contract.outcome import PortError
from spec_tests.contract.test_driver import StubPort
from spec_tests.drawing.inputs import generator
from spec_tests.port import Array, Numerics, Op
from spec_tests.report.scope import Scope, ScopedPort


def deep(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """Raise from within numpy, one call below the answer."""
    return {"y": inverted(inputs["x"])}


def inverted(x: Array) -> Array:
    return np.linalg.inv(x)


def said(answer: Callable[[Mapping[str, Array]], Mapping[str, Array]], x: Array) -> str:
    port, config = ScopedPort(StubPort(answer), Scope()), {"eps": 0.1}
    given = prepare(Op.L2_NORMALIZE, Numerics.F32, {"x": x}, config)
    with pytest.raises(PortError) as raised:
        ask(port, Op.L2_NORMALIZE, config, given, Numerics.F32)
    return str(raised.value)


def test_a_crash_is_told_with_the_last_place_of_the_port_and_not_of_what_it_calls() -> None:
    words = said(deep, generator(1).standard_normal((3, 4)))
    assert re.search(r"^  at test_crash\.py:\d+ in inverted$", words, re.MULTILINE)
    assert "driver.py" not in words


def test_a_crash_is_told_with_the_shapes_given_and_which_are_empty() -> None:
    assert said(deep, np.zeros((3, 4))).endswith("\n  with x [3, 4]")
    assert said(deep, np.zeros((0, 4))).endswith("\n  with x [0, 4] (empty)")
