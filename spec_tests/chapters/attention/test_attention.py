"""docs/spec/attention.md, against a loop over queries that lists the keys in sight."""

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
from spec_tests.port import Array, Numerics, Op, Port
from spec_tests.tally import where_declared

OP = Op.SLIDING_WINDOW_ATTENTION
HEADS, DIM = 2, 4


def case(batch: int, time: int, window: int, tokens: int, seed: int) -> dict[str, Array]:
    rng = generator(seed)
    shapes = {
        **dict.fromkeys(("queries", "keys", "values"), (batch, time, HEADS, DIM)),
        **dict.fromkeys(("persistent_keys", "persistent_values"), (tokens, HEADS, DIM)),
        **dict.fromkeys(("cache_keys", "cache_values"), (batch, window - 1, HEADS, DIM)),
    }
    drawn = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    # Sharp scores, so that a key too many or too few shows.
    drawn |= {"queries": 2.0 * drawn["queries"], "position": positions(batch, time, seed)}
    return representable(OP, drawn)


def literal(inputs: Inputs, window: int) -> dict[str, Array]:
    keys = np.concatenate([inputs["cache_keys"], inputs["keys"]], axis=1)
    values = np.concatenate([inputs["cache_values"], inputs["values"]], axis=1)
    output = np.zeros_like(inputs["queries"])
    for row, t, head in np.ndindex(output.shape[:3]):
        newest = window - 1 + t
        oldest = newest - min(window - 1, int(inputs["position"][row, t]))
        seen_keys = np.concatenate([inputs["persistent_keys"][:, head], keys[row, oldest : newest + 1, head]])
        seen_values = np.concatenate([inputs["persistent_values"][:, head], values[row, oldest : newest + 1, head]])
        scores = seen_keys @ inputs["queries"][row, t, head] / np.sqrt(DIM)
        weights = np.exp(scores - scores.max())
        output[row, t, head] = weights @ seen_values / weights.sum()
    last = slice(keys.shape[1] - (window - 1), None)
    return {"output": output, "cache_keys": keys[:, last], "cache_values": values[:, last]}


def attended(port: Port, inputs: Inputs, window: int, numerics: Numerics) -> tuple[Array, float]:
    """Return the output and how far it may move when what must not matter changes."""
    result = run(port, OP, numerics, inputs, window=window)
    return result["output"], unchanged(result, "output")


@pytest.mark.spec("ATT-1", "ATT-4", "ATT-5")
def test_the_output_is_the_literal_softmax_over_the_keys_in_sight(port: Port) -> None:
    def softmax(drawn: tuple[Sequence, int, int, float]) -> None:
        size, window, tokens, sharpness = drawn
        inputs = case(size.batch, size.time, window, tokens, size.seed)
        inputs["queries"] = inputs["queries"] * sharpness
        expected = literal(inputs, window)
        for numerics in precisions(port):
            with where_declared():
                result = run(port, OP, numerics, inputs, window=window)
                # Scores of a thousand: whatever does not take the largest off first overflows.
                result.assert_close("output", expected["output"], factor=1.0 if sharpness < 100 else 100.0)
                for name in ("cache_keys", "cache_values"):
                    # A port may keep the cache in its own precision: the values went through it anyway.
                    tolerance = 2.0**-8 if numerics is Numerics.BF16_IO else result.tolerance(name)
                    assert_close(result[name], expected[name], tolerance, name)

    windows, tokens = st.sampled_from((1, 4, 7, 16)), st.sampled_from((0, 1, 3))
    hold(st.tuples(sequences(longest=16), windows, tokens, st.sampled_from((1.0, 1.0, 512.0))), softmax, examples=24)


@pytest.mark.spec("ATT-2")
def test_the_window_holds_the_token_itself_and_the_ones_before_it_exactly(port: Port) -> None:
    window, t = 5, 11
    inputs = case(1, 16, window, 2, seed=1) | {"position": np.arange(100, 116)[None]}
    for numerics in precisions(port):
        with where_declared():
            before, rounding = attended(port, inputs, window, numerics)
            for age in range(window + 3):
                with where_declared():
                    rng = generator(age)
                    changed = {**inputs, "keys": inputs["keys"].copy(), "values": inputs["values"].copy()}
                    changed["keys"][:, t - age] += rng.standard_normal((HEADS, DIM))
                    changed["values"][:, t - age] += 20.0 * rng.standard_normal((HEADS, DIM))
                    after, _ = attended(port, changed, window, numerics)
                    if age < window:
                        moved = np.abs(after - before)[:, t].max()
                        assert moved > 1e-3 * np.abs(before).max(), (
                            f"a token of age {age} is out of sight in {numerics}"
                        )
                    else:
                        assert_close(after[:, t], before[:, t], rounding, f"a token of age {age} changed in {numerics}")


@pytest.mark.spec("ATT-3")
def test_tokens_of_another_document_are_out_of_sight(port: Port) -> None:
    window = 6
    inputs = case(2, 8, window, 1, seed=2) | {
        "position": np.array([[0, 1, 2, 3, 0, 1, 2, 3], [2, 3, 4, 5, 6, 7, 8, 9]])
    }
    foreign = {name: value.copy() for name, value in inputs.items()}
    for seed, name in enumerate(("keys", "values")):
        noise = 5.0 * generator(seed).standard_normal((2, 8, HEADS, DIM))
        foreign[name][0, :4] += noise[0, :4]
        foreign[f"cache_{name}"][0] += noise[1, : window - 1]
        # The first token of row 1 is the third of its document: the two newest cached tokens belong to it, the others
        # do not.
        foreign[f"cache_{name}"][1, :-2] += noise[0, 4 : 4 + window - 3]
    own = {**inputs, "cache_values": inputs["cache_values"].copy()}
    own["cache_values"][1, -2:] += 20.0 * generator(2).standard_normal((2, HEADS, DIM))
    for numerics in precisions(port):
        with where_declared():
            (before, rounding), (after, _) = (attended(port, given, window, numerics) for given in (inputs, foreign))
            assert_close(after[0, 4:], before[0, 4:], rounding, f"second document in {numerics}")
            assert_close(after[1], before[1], rounding, f"row that began before the call in {numerics}")
            moved = np.abs(attended(port, own, window, numerics)[0] - before)[1, 0].max()
            assert moved > 1e-3 * np.abs(before).max(), f"cached tokens of the document are ignored in {numerics}"


@pytest.mark.spec("ATT-4")
def test_every_query_sees_every_persistent_token(port: Port) -> None:
    inputs = case(2, 9, 4, 3, seed=3)
    inputs["queries"] = 0.25 * inputs["queries"]
    expected = literal(inputs, 4)["output"]
    for numerics in precisions(port):
        with where_declared():
            result = run(port, OP, numerics, inputs, window=4)
            result.assert_close("output", expected)
            for token in range(3):
                with where_declared():
                    changed = {**inputs, "persistent_values": inputs["persistent_values"].copy()}
                    changed["persistent_values"][token] += 100.0 + generator(token).standard_normal((HEADS, DIM))
                    moved = np.abs(attended(port, changed, 4, numerics)[0] - result["output"]).min()
                    assert moved > 1.0, f"some query hardly sees persistent token {token} in {numerics}: {moved:.3g}"


@pytest.mark.spec("ATT-5")
def test_any_split_into_calls_gives_the_same_outputs_and_caches(port: Port) -> None:
    def agrees(drawn: tuple[Sequence, int]) -> None:
        size, window = drawn
        for numerics in precisions(port):
            with where_declared():
                inputs = case(size.batch, size.time, window, 2, size.seed)
                assert_any_split_agrees(port, OP, numerics, inputs, [size.pieces], window=window)

    hold(st.tuples(sequences(shortest=1), st.sampled_from((1, 4, 8, 20))), agrees)
    one_at_a_time = [slice(t, t + 1) for t in range(9)]
    for numerics in precisions(port):
        with where_declared():
            assert_any_split_agrees(port, OP, numerics, case(2, 9, 4, 1, seed=5), [one_at_a_time], window=4)


@pytest.mark.spec("ATT-6")
def test_outputs_depend_on_their_own_token_and_not_on_later_ones(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_causal(port, OP, numerics, case(2, 12, 5, 2, seed=6), (0, 1, 5, 11), window=5)


@pytest.mark.spec("ATT-7")
def test_rows_are_independent(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_rows_independent(port, OP, numerics, case(3, 11, 4, 2, seed=7), window=4)


@pytest.mark.spec("ATT-8")
def test_the_gradients_are_those_of_the_softmax(port: Port) -> None:
    window = 3
    inputs = case(1, 5, window, 1, seed=8) | {"position": np.array([[1, 2, 3, 0, 1]])}
    weight = generator(9).standard_normal(inputs["queries"].shape)
    expected = {}
    for name in (name for name in inputs if name != "position"):

        def loss(value: Array, name: str = name) -> float:
            return float((literal({**inputs, name: value}, window)["output"] * weight).sum())

        expected[name] = central_difference(loss, inputs[name])
    assert_gradients(port, OP, inputs, {"output": weight}, expected, window=window)
