"""A port is asked no more than the run asks, and every call of a case is kept."""

import numpy as np
import pytest

from atlas_ref.errors import UserError
from spec_tests.contract.operations import OPERATIONS
from spec_tests.port import GRADIENTS, Declaration, Numerics, Op, UnsupportedError
from spec_tests.report.model import LEVELS
from spec_tests.report.samples import NOTHING, NothingPort
from spec_tests.report.scope import Scope, ScopedPort, parse_level, parse_numerics

ALL = Declaration(**{**vars(NOTHING), "operations": frozenset(OPERATIONS), "capabilities": frozenset({GRADIENTS, "x"})})


@pytest.mark.parametrize("level", LEVELS)
def test_a_port_seen_through_a_level_declares_nothing_above_it(level: int) -> None:
    port = ScopedPort(NothingPort(ALL), Scope(level))
    assert port.declare().operations == {op for op, row in OPERATIONS.items() if row.level <= level}
    assert (GRADIENTS in port.declare().capabilities) == (level >= 5)
    assert "x" in port.declare().capabilities
    assert port.declared == ALL


def test_a_port_seen_through_precisions_declares_no_other_in_its_own_order() -> None:
    own = Declaration(**{**vars(ALL), "numerics": (Numerics.BF16_IO, Numerics.F32)})
    scope = Scope(numerics=(Numerics.F64, Numerics.F32, Numerics.BF16_IO))
    assert ScopedPort(NothingPort(own), scope).declare().numerics == (Numerics.BF16_IO, Numerics.F32)
    assert ScopedPort(NothingPort(own), Scope(numerics=(Numerics.F64,))).declare().numerics == ()


def test_calls_are_kept_even_where_the_port_refuses_until_the_next_case() -> None:
    port = ScopedPort(NothingPort(ALL), Scope())
    for op, numerics, inputs in (
        (Op.M3_MIX, Numerics.F64, {"cotangent.state": np.ones(1)}),
        (Op.M3_MIX, Numerics.F64, {}),
        (Op.SHORT_CONV, Numerics.F32, {}),
    ):
        with pytest.raises(UnsupportedError):
            port.run(op, {"warmup": 3, "odd": 2.5}, inputs, numerics=numerics, taps=frozenset())
    assert [(pair.operation, pair.numerics) for pair in port.asked] == [
        (Op.M3_MIX, Numerics.F64),
        (Op.SHORT_CONV, Numerics.F32),
    ]
    assert port.last is not None
    assert (port.last.operation, port.last.config) == (Op.SHORT_CONV, {"warmup": 3, "odd": 2.5})
    assert port.gradients


def test_a_new_case_begins_with_nothing_asked() -> None:
    port = ScopedPort(NothingPort(ALL), Scope())
    with pytest.raises(UnsupportedError):
        port.run(Op.M3_MIX, {}, {"cotangent.state": np.ones(1)}, numerics=Numerics.F64, taps=frozenset())
    port.forget()
    assert (port.asked, port.last, port.gradients) == ((), None, False)


def test_levels_and_precisions_are_read_as_people_write_them() -> None:
    assert [parse_level(text) for text in ("L0", "l3", " 6 ")] == [0, 3, 6]
    assert parse_numerics("bf16_io, f64") == (Numerics.F64, Numerics.BF16_IO)


@pytest.mark.parametrize("text", ["", "L7", "L-1", "three", "L²"])
def test_what_is_no_level_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="expected one of L0"):
        parse_level(text)


@pytest.mark.parametrize("text", ["", ",", "f16", "f64 f16"])
def test_what_is_no_precision_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="expected one or more of f64"):
        parse_numerics(text)
