"""docs/spec/convolution.md, against a loop over tokens and taps."""

import numpy as np
import pytest
from hypothesis import strategies as st

from spec_tests.contract.driver import assert_close, precisions, run
from spec_tests.contract.properties import (
    Inputs,
    assert_any_split_agrees,
    assert_causal,
    assert_gradients,
    assert_rows_independent,
    representable,
    unchanged,
)
from spec_tests.drawing.inputs import central_difference, generator, positions
from spec_tests.drawing.strategies import Sequence, hold, sequences
from spec_tests.port import Array, Op, Port
from spec_tests.tally import where_declared

OP = Op.SHORT_CONV


def case(batch: int, time: int, kernel: int, seed: int, channels: int = 3) -> dict[str, Array]:
    rng = generator(seed)
    drawn = {
        "x": rng.standard_normal((batch, time, channels)),
        "weight": rng.standard_normal((channels, kernel)),
        "tail": rng.standard_normal((batch, kernel - 1, channels)),
        "position": positions(batch, time, seed),
    }
    return representable(OP, drawn)


def literal(inputs: Inputs) -> tuple[Array, Array]:
    x, weight, tail, position = (inputs[name] for name in ("x", "weight", "tail", "position"))
    kernel = weight.shape[1]
    y = np.zeros_like(x)
    for row, t in np.ndindex(position.shape):
        for j in range(min(kernel - 1, int(position[row, t])) + 1):
            source = x[row, t - j] if t >= j else tail[row, kernel - 1 + t - j]
            y[row, t] += weight[:, kernel - 1 - j] * source
    everything = np.concatenate([tail, x], axis=1)
    return y, everything[:, everything.shape[1] - (kernel - 1) :]


@pytest.mark.spec("CONV-1")
def test_the_output_is_the_literal_sum_over_taps(port: Port) -> None:
    def summed(drawn: tuple[Sequence, int]) -> None:
        size, kernel = drawn
        inputs = case(size.batch, size.time, kernel, size.seed)
        y, tail = literal(inputs)
        for numerics in precisions(port):
            with where_declared():
                result = run(port, OP, numerics, inputs)
                result.assert_close("y", y)
                result.assert_close("tail", tail)

    hold(st.tuples(sequences(longest=20), st.sampled_from((1, 2, 4))), summed, examples=20)


@pytest.mark.spec("CONV-2")
def test_another_document_never_counts_whatever_it_holds(port: Port) -> None:
    inputs = case(2, 9, 4, seed=1)
    inputs["position"] = np.array([[0, 1, 2, 3, 0, 1, 2, 3, 4], [2, 3, 4, 5, 6, 7, 0, 1, 2]])
    foreign = dict(inputs) | {"x": inputs["x"].copy(), "tail": inputs["tail"].copy()}
    # Row 0: everything before its second document, and the tail; row 1: the one tail entry its first token cannot
    # reach.
    foreign["x"][0, :4] = np.inf
    foreign["tail"][0] = np.inf
    foreign["tail"][1, 0] = -np.inf
    for numerics in precisions(port):
        with where_declared():
            clean, after = run(port, OP, numerics, inputs), run(port, OP, numerics, foreign)
            clean.assert_close("y", literal(inputs)[0])
            near = unchanged(clean, "y")
            second = f"second document after an infinite first one in {numerics}"
            assert_close(after["y"][0, 4:], clean["y"][0, 4:], near, second)
            assert_close(after["y"][1], clean["y"][1], near, f"row whose unreachable tail is infinite in {numerics}")


@pytest.mark.spec("CONV-3")
def test_any_split_into_calls_gives_the_same_outputs_and_tail(port: Port) -> None:
    def agrees(drawn: tuple[Sequence, int]) -> None:
        size, kernel = drawn
        for numerics in precisions(port):
            with where_declared():
                inputs = case(size.batch, size.time, kernel, size.seed)
                assert_any_split_agrees(port, OP, numerics, inputs, [size.pieces])

    hold(st.tuples(sequences(shortest=1), st.sampled_from((2, 4))), agrees)
    one_at_a_time = [slice(t, t + 1) for t in range(9)]
    for numerics in precisions(port):
        with where_declared():
            assert_any_split_agrees(port, OP, numerics, case(2, 9, 4, seed=5), [one_at_a_time])


@pytest.mark.spec("CONV-4")
def test_outputs_depend_on_their_own_token_and_not_on_later_ones(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_causal(port, OP, numerics, case(2, 12, 4, seed=2), (0, 1, 5, 11))


@pytest.mark.spec("CONV-5")
def test_rows_are_independent(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_rows_independent(port, OP, numerics, case(3, 11, 4, seed=3))


@pytest.mark.spec("CONV-6")
def test_the_gradients_are_those_of_the_sum(port: Port) -> None:
    inputs = case(2, 6, 3, seed=4)
    weights = {"y": generator(5).standard_normal((2, 6, 3)), "tail": generator(6).standard_normal((2, 2, 3))}

    def loss_of(name: str) -> Array:
        def loss(value: Array) -> float:
            y, tail = literal({**inputs, name: value})
            return float((y * weights["y"]).sum() + (tail * weights["tail"]).sum())

        return central_difference(loss, inputs[name])

    expected = {name: loss_of(name) for name in ("x", "weight", "tail")}
    assert_gradients(port, OP, inputs, weights, expected)
