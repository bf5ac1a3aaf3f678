"""docs/spec/qk_projection.md, against a loop that forms the matrix Pi at every token."""

from functools import cache

import numpy as np
import pytest

from spec_tests.contract.driver import assert_close, precisions, run, run_with_gradients
from spec_tests.contract.properties import (
    EXACT,
    Inputs,
    assert_any_split_agrees,
    assert_causal,
    assert_gradients,
    assert_rows_independent,
    representable,
    unchanged,
)
from spec_tests.drawing.inputs import central_difference, generator, orthonormal, positions
from spec_tests.drawing.strategies import Sequence, hold, sequences
from spec_tests.port import Array, Numerics, Op, Port
from spec_tests.tally import where_declared

OP = Op.QK_PROJECTION
HEADS, DIM = 2, 5


def case(batch: int, time: int, seed: int, reset_rate: float = 0.08) -> dict[str, Array]:
    rng = generator(seed)
    root = rng.standard_normal((batch, HEADS, DIM, DIM))
    drawn = {
        "queries": rng.standard_normal((batch, time, HEADS, DIM)),
        "keys": rng.standard_normal((batch, time, HEADS, DIM)),
        "carry": root @ np.swapaxes(root, -1, -2),
        "position": positions(batch, time, seed, reset_rate=reset_rate),
    }
    return representable(OP, drawn)


def literal(inputs: Inputs) -> dict[str, Array]:
    carry = inputs["carry"].copy()
    projected = np.zeros_like(inputs["queries"])
    frobenius = np.zeros(projected.shape[:3])
    for row, t, head in np.ndindex(frobenius.shape):
        if inputs["position"][row, t] == 0:
            carry[row, head] = 0.0
        key = inputs["keys"][row, t, head]
        if key.any():
            carry[row, head] += np.outer(key, key) / (key @ key)
        projected[row, t, head] = carry[row, head] @ inputs["queries"][row, t, head]
        frobenius[row, t, head] = np.sqrt((carry[row, head] ** 2).sum())
    return {"projected": projected, "carry": carry, "frobenius": frobenius}


@cache
def long_case(time: int) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return a call longer than a block of a parallel form, and what the loop makes of it."""
    inputs = case(2, time, seed=time)
    return inputs, literal(inputs)


def assert_literal(port: Port, output: str) -> None:
    for numerics in precisions(port):
        for time in (1, 65, 130):
            with where_declared():
                inputs, expected = long_case(time)
                run(port, OP, numerics, inputs).assert_close(output, expected[output])

    def equals(size: Sequence) -> None:
        inputs = case(size.batch, size.time, size.seed)
        expected = literal(inputs)[output]
        for numerics in precisions(port):
            with where_declared():
                run(port, OP, numerics, inputs).assert_close(output, expected)

    hold(sequences(longest=14), equals)


@pytest.mark.spec("QK-1", "QK-3")
def test_the_projected_query_is_pi_of_its_own_token_times_the_query(port: Port) -> None:
    assert_literal(port, "projected")


@pytest.mark.spec("QK-2")
def test_the_norm_is_that_of_pi_at_every_token(port: Port) -> None:
    assert_literal(port, "frobenius")


@pytest.mark.spec("QK-3")
def test_a_new_document_starts_from_zero(port: Port) -> None:
    inputs = case(2, 70, seed=1)
    inputs["position"] = np.stack([np.r_[0:66, 0:4], np.r_[9:12, 0:67]])
    foreign = {name: value.copy() for name, value in inputs.items()}
    foreign["carry"] += 5.0 * generator(4).standard_normal(inputs["carry"].shape)
    foreign["keys"][0, :66] = generator(2).standard_normal((66, HEADS, DIM))
    foreign["keys"][1, :3] = generator(3).standard_normal((3, HEADS, DIM))
    expected = literal(inputs)["carry"]
    for numerics in precisions(port):
        with where_declared():
            before, after = run(port, OP, numerics, inputs), run(port, OP, numerics, foreign)
            before.assert_close("carry", expected)
            for name in ("projected", "frobenius"):
                rounding = unchanged(before, name)
                assert_close(
                    after[name][0, 66:], before[name][0, 66:], rounding, f"{name} of the last document of row 0"
                )
                assert_close(after[name][1, 3:], before[name][1, 3:], rounding, f"{name} of the last document of row 1")
                assert not np.allclose(after[name][1, :3], before[name][1, :3]), f"{name} of an open document: no carry"
            assert_close(after["carry"], before["carry"], unchanged(before, "carry"), "carry")


@pytest.mark.spec("QK-4")
def test_any_split_into_calls_gives_the_same_results(port: Port) -> None:
    def agrees(size: Sequence) -> None:
        for numerics in precisions(port):
            with where_declared():
                inputs = case(size.batch, size.time, size.seed)
                assert_any_split_agrees(port, OP, numerics, inputs, [size.pieces])

    hold(sequences(shortest=1), agrees)
    for numerics in precisions(port):
        with where_declared():
            long = case(2, 130, seed=130, reset_rate=0.02)
            assert_any_split_agrees(port, OP, numerics, long, [[slice(0, 65), slice(65, 66), slice(66, 130)]])
        with where_declared():
            empty = case(2, 0, seed=4)
            assert_close(run(port, OP, numerics, empty)["carry"], empty["carry"], EXACT, "carry after an empty call")


@pytest.mark.spec("QK-5")
def test_a_token_uses_the_keys_up_to_itself_and_no_later_ones(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_causal(port, OP, numerics, case(2, 80, seed=5, reset_rate=0.03), (0, 1, 30, 63, 64, 79))


@pytest.mark.spec("QK-6")
def test_rows_are_independent(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_rows_independent(port, OP, numerics, case(3, 20, seed=6))


@pytest.mark.spec("QK-7")
def test_only_the_direction_of_a_key_counts_and_a_zero_key_adds_nothing(port: Port) -> None:
    inputs = case(2, 12, seed=7)
    scales = 10.0 ** generator(8).integers(-18, 19, size=(2, 12, 1, 1))
    for numerics in precisions(port):
        with where_declared():
            plain = run(port, OP, numerics, inputs)
            scaled = run(port, OP, numerics, {**inputs, "keys": scales * inputs["keys"]})
            for name in plain.outputs:
                # Scaling by a power of ten rounds a bfloat16 key to another direction.
                assert_close(
                    scaled[name], plain[name], 2e-2 if numerics is Numerics.BF16_IO else 1e-4, f"scaled {name}"
                )
    silent = {**inputs, "keys": np.where(np.arange(12)[None, :, None, None] % 3 == 0, 0.0, inputs["keys"])}
    wanted = literal(silent)
    for numerics in precisions(port):
        with where_declared():
            result = run(port, OP, numerics, silent)
            for name, expected in wanted.items():
                result.assert_close(name, expected)


@pytest.mark.spec("QK-8")
def test_orthonormal_keys_make_a_projector(port: Port) -> None:
    basis = orthonormal(4, DIM, seed=9)
    keys = np.broadcast_to(3.0 * basis[None, :, None], (1, 4, HEADS, DIM))
    inputs = case(1, 4, seed=10) | {"keys": keys, "position": np.arange(4)[None]}
    span = basis.T @ basis
    for numerics in precisions(port):
        with where_declared():
            result = run(port, OP, numerics, inputs)
            result.assert_close("carry", np.broadcast_to(span, (1, HEADS, DIM, DIM)))
            what = f"projected query in {numerics}"
            projected = inputs["queries"][0, 3] @ span
            assert_close(result["projected"][0, 3], projected, result.tolerance("projected"), what)
            norms = np.sqrt([1.0, 2.0, 3.0, 4.0])
            assert_close(result["frobenius"][0, :, 1], norms, result.tolerance("frobenius"), f"norm in {numerics}")


@pytest.mark.spec("QK-9")
def test_the_gradients_are_those_of_the_sums_and_finite_for_zero_keys(port: Port) -> None:
    inputs = case(1, 6, seed=11) | {"position": np.array([[3, 4, 5, 0, 1, 2]])}
    rng = generator(12)
    weights = {name: rng.standard_normal(value.shape) for name, value in literal(inputs).items()}

    def gradient(name: str) -> Array:
        def loss(value: Array) -> float:
            outputs = literal({**inputs, name: value})
            return float(sum((outputs[key] * weight).sum() for key, weight in weights.items()))

        return central_difference(loss, inputs[name])

    assert_gradients(port, OP, inputs, weights, {name: gradient(name) for name in ("queries", "keys", "carry")})
    zero = {**inputs, "keys": 0.0 * inputs["keys"], "carry": 0.0 * inputs["carry"]}
    for numerics in precisions(port):
        with where_declared():
            result = run_with_gradients(port, OP, numerics, zero, weights)
            finite = all(np.isfinite(result[f"grad.{name}"]).all() for name in ("queries", "keys", "carry"))
            assert finite, f"the gradient at zero keys is not finite in {numerics}"


@pytest.mark.spec("QK-10")
def test_the_gate_is_the_bounded_projected_query(port: Port) -> None:
    rng = generator(13)
    drawn = {
        "projected": 2.0 * rng.standard_normal((2, 7, HEADS, DIM)),
        "frobenius": rng.uniform(0.5, 4.0, (2, 7, HEADS)),
        "log_gain": rng.uniform(-1.0, 2.0, (HEADS, DIM)),
        "scale": rng.uniform(0.5, 2.0, (HEADS, DIM)),
    }
    drawn["frobenius"][0, 0], drawn["projected"][0, 0] = 0.0, 1e-8
    inputs = representable(Op.QK_GATE, drawn)
    for numerics in precisions(port):
        with where_declared():
            result = run(port, Op.QK_GATE, numerics, inputs)
            projected, frobenius, log_gain, scale = (result.inputs[name] for name in inputs)
            aligned = projected / (frobenius[..., None] + 1e-7)
            result.assert_close("gated", np.tanh(np.exp(log_gain) * aligned) * scale)
