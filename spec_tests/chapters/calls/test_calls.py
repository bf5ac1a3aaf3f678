"""docs/spec/calls.md: what holds for every operation, asked with the first stored case of each."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from spec_tests.contract.driver import Result, assert_close, precisions, run, run_with_gradients
from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.properties import assert_computes
from spec_tests.drawing.inputs import generator
from spec_tests.port import GRADIENTS, Array, Numerics, Op, Port, round_to_bf16
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
    inputs = OPERATIONS[case.op].inputs
    if any("batch" in tensor.axes[1:] for tensor in inputs):
        # Steps of training take the mean over the rows of a batch: no row has an answer of its own.
        return
    rows = {tensor.name for tensor in inputs if tensor.axes[:1] == ("batch",)}
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
            floats = {name for name, value in case.inputs.items() if value.dtype.kind == "f"} or set(case.inputs)
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


@pytest.mark.long
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


@pytest.mark.long
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


ROUNDED_ALIKE = 0.98
"""Least share of entries that are the bfloat16 number nearest to what is expected: float32 moves few over a border.

With the bits cut off it is a half, with one parameter in bfloat16 mostly below this.
"""
FEW = 8
"""Stored cases of an operation that are looked at: enough entries for a share."""


@pytest.mark.spec("CALL-4")
def test_an_activation_is_rounded_once_to_the_nearest_bfloat16(port: Port) -> None:
    alike: defaultdict[Op, list[int]] = defaultdict(lambda: [0, 0])
    for numerics in precisions(port, Numerics.BF16_IO):
        for case, names in activations(port, numerics):
            with where_declared():
                answer = run(port, case.op, numerics, case.inputs, **case.config)
                for name in names:
                    expected, counted = case.expected[name], case.expected[name] != 0.0
                    right = answer[name] == round_to_bf16(expected)
                    alike[case.op][0] += int(right[counted].sum())
                    alike[case.op][1] += int(counted.sum())
    if not alike:
        pytest.skip(f"port '{port.declare().name}' declares no operation that answers with an activation")
    for op, (right, entries) in alike.items():
        assert right >= ROUNDED_ALIKE * entries, f"{op}: {right} of {entries} entries are the nearest bfloat16 number"


def activations(port: Port, numerics: Numerics) -> Iterator[tuple[Case, list[str]]]:
    """Yield some stored cases of every declared operation that answers with activations, with their names."""
    seen: Counter[Op] = Counter()
    for case in load_cases():
        names = [t.name for t in OPERATIONS[case.op].outputs if t.role == "activation" and t.name in case.expected]
        finite = all(np.isfinite(value).all() for value in case.inputs.values())
        if names and finite and seen[case.op] < FEW and absent(port.declare(), case, numerics) is None:
            seen[case.op] += 1
            yield case, names


@pytest.mark.spec("CALL-4")
def test_a_tie_goes_to_the_even_bfloat16(port: Port) -> None:
    for numerics in precisions(port, Numerics.BF16_IO):
        with where_declared():
            # One tap: 1 times a weight that lies in the middle between two bfloat16 numbers.
            middles = 1.0 + (2.0 * np.arange(8) + 1.0) * 2.0**-8
            inputs = {
                "x": np.ones((1, 2, 8)),
                "weight": middles[:, None],
                "tail": np.zeros((1, 0, 8)),
                "position": np.array([[0, 1]]),
            }
            answer = run(port, Op.SHORT_CONV, numerics, inputs)
            even = 1.0 + 2.0 * np.round((2.0 * np.arange(8) + 1.0) / 4.0) * 2.0**-7
            assert np.array_equal(answer["y"], np.broadcast_to(even, (1, 2, 8))), (
                f"ties go elsewhere: {answer['y'][0, 0]}"
            )
