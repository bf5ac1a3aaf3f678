"""docs/spec/ridge_scan.md: reads against the regression that they solve, documents, splits, rows, derivatives."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import pytest

from spec_tests.chapters.ridge_scan.calls import STATE, TIMED, case, cotangents, inside, tokens
from spec_tests.chapters.ridge_scan.oracle import Ridge
from spec_tests.contract.driver import assert_close, assert_same, precisions, run, run_with_gradients
from spec_tests.contract.properties import assert_any_split_agrees, assert_computes, unchanged
from spec_tests.drawing.inputs import generator
from spec_tests.oracle import complex_step
from spec_tests.port import Array, Numerics, Op, Port
from spec_tests.tally import where_declared

RIDGE: Final = Op.RIDGE_SCAN
LONG: Final = {"time": 70, "heads": 1, "features": 17, "values": 9, "batch": 2}
MANY: Final = {"time": 3, "heads": 5, "batch": 5}
FAR: Final = 100_000
SLOPES: Final = {Numerics.F64: 1e-9, Numerics.F32: 1e-3, Numerics.BF16_IO: 1e-2}


@pytest.mark.spec("RULE-14")
def test_a_read_is_that_of_the_regression_over_all_pairs_so_far(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            inputs = inside(1, time=6)
            inputs |= {name: 0.0 * inputs[name] for name in ("cross", "gram")}
            result = run(port, RIDGE, numerics, inputs)
            result.assert_close("reads", regression(result.inputs))


def regression(x: Mapping[str, Array]) -> Array:
    """Return the reads of the memory that fits all pairs so far by least squares with decayed weights.

    The ridge is a row of data for each feature: sqrt(ridge) on its diagonal, with targets of zero.
    """
    reads = np.zeros(x["values"].shape)
    batch, time, heads, width = x["values"].shape
    for row, t, head in np.ndindex(batch, time, heads):
        alpha = x["retention"][row, : t + 1, head]
        weight = x["step_size"][row, : t + 1, head] * np.append(np.cumprod(alpha[:0:-1])[::-1], 1.0)
        root = np.sqrt(weight)[:, None]
        data = np.concatenate([root * x["keys"][row, : t + 1, head], np.diag(np.sqrt(x["ridge"][head]))])
        target = np.concatenate([root * x["values"][row, : t + 1, head], np.zeros((data.shape[1], width))])
        reads[row, t, head] = x["queries"][row, t, head] @ np.linalg.lstsq(data, target, rcond=None)[0]
    return reads


@pytest.mark.spec("RULE-14")
def test_reads_and_sums_are_those_of_the_loop(port: Port) -> None:
    for numerics in precisions(port):
        for lengths in ({}, {"features": 3, "values": 5}, {"features": 1, "values": 1}, LONG, MANY):
            with where_declared():
                inputs = case(seed=2, document=3, **lengths)
                inputs["position"] += FAR * (inputs["position"] > 0)
                result = run(port, RIDGE, numerics, inputs)
                for name, value in Ridge().run(result.inputs).items():
                    result.assert_close(name, value)


@pytest.mark.spec("RULE-22")
def test_a_reset_equals_a_fresh_start(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            inputs = inside(3)
            inputs["reset"][0, 3] = 1
            before = run(port, RIDGE, numerics, inputs)
            assert_computes(before)
            alone = tokens(inputs, slice(3, None)) | {"position": np.array([0, 0])}
            alone["reset"] = 0 * alone["reset"]
            first = run(port, RIDGE, numerics, alone)
            same = unchanged(before, "reads")
            assert_close(first["reads"][0], before["reads"][0, 3:], same, f"reads of a fresh start in {numerics}")
            for name in STATE:
                what = f"{name} of a fresh start in {numerics}"
                assert_close(first[name][0], before[name][0], unchanged(before, name), what)


@pytest.mark.spec("RULE-23")
def test_any_split_into_calls_agrees_and_an_empty_call_returns_its_state(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            inputs = case(seed=4, document=3)
            assert_any_split_agrees(port, RIDGE, numerics, inputs, [[slice(0, 1), slice(1, 1), slice(1, 7)]])
            empty = run(port, RIDGE, numerics, tokens(inputs, slice(0, 0)))
            for name in STATE:
                assert_same(empty[name], empty.inputs[name], f"{name} after an empty call in {numerics}")


@pytest.mark.spec("RULE-23")
def test_rows_are_independent_and_no_read_depends_on_a_later_token(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            inputs, other = inside(5), inside(6)
            rows = [name for name in inputs if name != "ridge"]
            strangers = {name: np.concatenate([other[name][:1], inputs[name][1:]]) for name in rows}
            later = {name: np.concatenate([inputs[name][:, :4], other[name][:, 4:]], axis=1) for name in TIMED}
            whole, among, after = (run(port, RIDGE, numerics, {**inputs, **x}) for x in ({}, strangers, later))
            assert_computes(whole)
            for name in ("reads", *STATE):
                what = f"{name} of a row among others in {numerics}"
                assert_close(among[name][1:], whole[name][1:], unchanged(whole, name), what)
            same = unchanged(whole, "reads")
            assert_close(after["reads"][:, :4], whole["reads"][:, :4], same, f"reads before a change in {numerics}")
            assert not np.allclose(after["reads"][:, 4], whole["reads"][:, 4]), "a read ignores its own token"


@pytest.mark.spec("RULE-24")
def test_derivatives_are_those_of_the_solution(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            inputs = inside(7, batch=1, time=4)
            asked = cotangents(inputs, 8)
            result = run_with_gradients(port, RIDGE, numerics, inputs, asked)
            rng = generator(9)
            for name in (name for name, value in inputs.items() if value.dtype.kind == "f"):
                found = result[f"grad.{name}"]
                direction = rng.standard_normal(found.shape)
                wanted = complex_step.along(Ridge().run, inputs, {name: direction}, asked)
                allowed = SLOPES[numerics] * np.sqrt((found**2).sum() * (direction**2).sum()) + SLOPES[numerics]
                actual = float((found * direction).sum())
                assert abs(actual - wanted) <= allowed, (
                    f"slope by {name} in {numerics}: {actual:.12g}, not {wanted:.12g}"
                )
            reads = run_with_gradients(port, RIDGE, numerics, inputs, {"reads": asked["reads"]})["grad.gram"]
            same = max(1e-12, SLOPES[numerics])
            assert_close(reads, np.swapaxes(reads, -1, -2), same, f"gradient by gram and its transpose in {numerics}")
