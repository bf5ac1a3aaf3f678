"""docs/spec/calls.md: what holds for every operation, asked with the first stored case of each."""

from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from spec_tests.contract.driver import Result, assert_close, precisions, run, run_with_gradients
from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.properties import assert_computes
from spec_tests.drawing.inputs import generator
from spec_tests.port import GRADIENTS, Array, Numerics, Port
from spec_tests.tally import where_declared
from spec_tests.vectors.case import Case, absent, load_cases


def examples(port: Port, *, gradients: bool = False) -> Iterator[tuple[Case, Numerics]]:
    """Yield a stored case of every operation that the port declares, with cotangents if asked, in each precision."""
    declaration = port.declare()
    stored = [case for case in reversed(load_cases()) if case.op in declaration.operations]
    # Stable: those of the port's domain come last, and the first of them wins.
    stored.sort(key=lambda case: all(absent(declaration, case, numerics) is None for numerics in declaration.numerics))
    firsts = {case.op: case for case in stored if (case.cotangents or not gradients) and not answers_zero(case)}
    if not firsts:
        pytest.skip(f"port '{declaration.name}' declares no operation of which a case is stored")
    for numerics in precisions(port):
        for case in firsts.values():
            yield case, numerics


def answers_zero(case: Case) -> bool:
    """Return whether zeros are the right answer: what is asked here could then not tell a port that computes."""
    return not any(value.any() for name, value in case.expected.items() if not name.startswith("grad."))


def among_others(case: Case) -> Iterator[tuple[Mapping[str, Array], Mapping[str, Array]]]:
    """Yield the inputs of each row, and those of the case, where its operation has rows and the case more than one."""
    rows = {tensor.name for tensor in OPERATIONS[case.op].inputs if tensor.axes[:1] == ("batch",)}
    count = {len(case.inputs[name]) for name in rows}
    for row in range(max(count, default=0) if min(count, default=0) > 1 else 0):
        yield (
            {name: value[row : row + 1] if name in rows else value for name, value in case.inputs.items()},
            case.inputs,
        )


def shuffled(x: Array, rng: np.random.Generator) -> Array:
    return np.asarray(rng.permutation(x.ravel()).reshape(x.shape))


def last_bits(result: Result, name: str) -> float:
    """Return what the place of an array in memory may change: a least-squares solver differs from call to call."""
    rounded = result.numerics is Numerics.BF16_IO and OPERATIONS[result.op].role(name) == "activation"
    return 2.0**-7 if rounded else 64.0 * float(np.finfo(result.numerics.dtype).eps)


def rounding(result: Result, name: str) -> float:
    return 1e-9 if result.numerics is Numerics.F64 else 3.0 * result.tolerance(name)


@pytest.mark.spec("CALL-1")
def test_the_same_call_gives_the_same_answer_whatever_came_between(port: Port) -> None:
    for case, numerics in examples(port):
        with where_declared():
            rng = generator(1)
            floats = {name for name, value in case.inputs.items() if value.dtype.kind == "f"}
            # Other content of the same shape: an answer kept from before, or a state, would show.
            other = {
                name: rng.permuted(x.ravel()).reshape(x.shape) if name in floats else x
                for name, x in case.inputs.items()
            }
            first = run(port, case.op, numerics, case.inputs, **case.config)
            between = run(port, case.op, numerics, other, **case.config)
            again = run(port, case.op, numerics, case.inputs, **case.config)
            for name, value in first.outputs.items():
                assert_close(again[name], value, last_bits(first, name), f"{case.op} {name} asked again in {numerics}")
            last = OPERATIONS[case.op].outputs[-1].name
            assert not np.array_equal(between[last], first[last]), f"{case.op} answers other inputs alike in {numerics}"


@pytest.mark.spec("CALL-2")
def test_a_row_alone_gives_what_it_gives_among_others(port: Port) -> None:
    for case, numerics in examples(port):
        with where_declared():
            outputs = [tensor.name for tensor in OPERATIONS[case.op].outputs if tensor.axes[:1] == ("batch",)]
            whole = None
            for row, (alone, everything) in enumerate(among_others(case)):
                whole = whole or run(port, case.op, numerics, everything, **case.config)
                assert_computes(whole)
                single = run(port, case.op, numerics, alone, **case.config)
                for name in outputs:
                    what = f"{case.op} {name} of row {row} alone in {numerics}"
                    assert_close(single[name], whole[name][row : row + 1], rounding(whole, name), what)


@pytest.mark.spec("CALL-3")
def test_gradients_do_not_change_the_outputs(port: Port) -> None:
    if GRADIENTS not in port.declare().capabilities:
        pytest.skip(f"port '{port.declare().name}' declares no gradients")
    for case, numerics in examples(port, gradients=True):
        with where_declared():
            plain = run(port, case.op, numerics, case.inputs, **case.config)
            assert_computes(plain)
            trained = run_with_gradients(port, case.op, numerics, case.inputs, case.cotangents, **case.config)
            for name, value in plain.outputs.items():
                what = f"{case.op} {name} when asked for gradients too in {numerics}"
                assert_close(trained[name], value, rounding(plain, name), what)
