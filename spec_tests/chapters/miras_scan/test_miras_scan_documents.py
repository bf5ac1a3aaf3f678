"""Documents, splits, rows, causality and derivatives under every axis of MIRAS: chapters MEM and GRAD."""

from typing import Final

import numpy as np
import pytest

from spec_tests.chapters.memory_step.calls import fresh
from spec_tests.chapters.memory_step.loop import STATE
from spec_tests.chapters.miras_scan.calls import (
    EACH_TOKEN,
    case,
    expected,
    points_in_turn,
    small_case,
    tokens,
)
from spec_tests.contract.driver import Result, assert_close, assert_same, run, run_with_gradients
from spec_tests.contract.properties import assert_any_split_agrees, assert_computes, unchanged
from spec_tests.drawing.inputs import generator
from spec_tests.oracle import complex_step
from spec_tests.port import Array, Numerics, Op, Port
from spec_tests.tally import where_declared

SLOPES: Final = {Numerics.F64: 1e-9, Numerics.F32: 1e-3, Numerics.BF16_IO: 3e-2}


def assert_same_tokens(result: Result, before: Result, row: int, start: int, what: str) -> None:
    """Assert that a row reads the same from token `start` on and ends in the same state."""
    last = result["reads"].shape[1] - before["reads"].shape[1]
    same = unchanged(before, "reads")
    assert_close(result["reads"][row, start + last :], before["reads"][row, start:], same, f"{result.op} reads {what}")
    for name in STATE:
        assert_close(result[name][row], before[name][row], unchanged(before, name), f"{result.op} {name} {what}")


@pytest.mark.spec("MEM-5")
def test_a_reset_equals_a_fresh_start_under_every_axis(port: Port) -> None:
    for op, numerics, seed, config in points_in_turn(port):
        with where_declared():
            inputs = case(config, time=8, seed=seed, document=100)
            inputs["reset"][:] = 0
            inputs["reset"][1, 5] = 1
            before = run(port, op, numerics, inputs, **config)
            assert_computes(before)
            alone = fresh(tokens(inputs, slice(5, None)))
            alone["reset"] = 0 * alone["reset"]
            first = run(port, op, numerics, alone, **config)
            assert_same_tokens(first, before, 1, 5, f"of a fresh start in {numerics}")


@pytest.mark.spec("MEM-7", "RULE-20")
def test_any_split_into_calls_agrees_under_every_axis(port: Port) -> None:
    for op, numerics, seed, config in points_in_turn(port):
        with where_declared():
            inputs = case(config, time=7, seed=seed, document=5)
            pieces = [slice(0, 2), slice(2, 2), slice(2, 7)]
            assert_any_split_agrees(port, op, numerics, inputs, [pieces], **config)
            empty = run(port, op, numerics, tokens(inputs, slice(0, 0)), **config)
            for name in STATE:
                assert_same(empty[name], empty.inputs[name], f"{op} {name} after an empty call")


@pytest.mark.spec("MEM-8")
def test_rows_are_independent_under_every_axis(port: Port) -> None:
    for op, numerics, seed, config in points_in_turn(port):
        with where_declared():
            inputs, other = (case(config, time=6, seed=seed + 7 * n) for n in range(2))
            rows = [name for name in inputs if name != "initial"]
            strangers = {name: np.concatenate([other[name][:-1], inputs[name][-1:]]) for name in rows}
            whole, among = (run(port, op, numerics, {**inputs, **x}, **config) for x in ({}, strangers))
            assert_computes(whole)
            assert not np.allclose(among["reads"][0], whole["reads"][0]), f"{op} ignores a row's own tokens"
            assert_same_tokens(among, whole, 1, 0, f"of a row among others in {numerics}")


@pytest.mark.spec("MEM-9")
def test_a_read_depends_on_no_later_token_under_every_axis(port: Port) -> None:
    for op, numerics, seed, config in points_in_turn(port):
        with where_declared():
            inputs, other = (case(config, time=6, seed=seed + 9 * n) for n in range(2))
            later = {n: np.concatenate([inputs[n][:, :3], other[n][:, 3:]], axis=1) for n in EACH_TOKEN}
            before, after = (run(port, op, numerics, {**inputs, **x}, **config) for x in ({}, later))
            assert_computes(before)
            what = f"{op} reads before a change at 3 in {numerics}"
            assert_close(after["reads"][:, :3], before["reads"][:, :3], unchanged(before, "reads"), what)
            assert not np.allclose(after["reads"][:, 3], before["reads"][:, 3]), f"{op} ignores token 3"


@pytest.mark.spec("GRAD-1", "GRAD-2", "GRAD-3", "RULE-21")
def test_derivatives_are_those_of_the_loop_under_every_axis(port: Port) -> None:
    for op, numerics, seed, config in points_in_turn(port):
        with where_declared():
            assert_slopes(port, op, numerics, config, seed)


def assert_slopes(
    port: Port, op: Op, numerics: Numerics, config: dict[str, bool | int | float | str], seed: int
) -> None:
    """Assert the derivative of reads and last state by every input, along a random direction each."""
    rng = generator(seed + 300)
    inputs = small_case(config, seed)
    names = [name for name, value in inputs.items() if value.dtype.kind == "f" and value.size]
    shapes = {"reads": inputs["values"].shape, **{name: inputs[name].shape for name in STATE[:-1]}}
    cotangents: dict[str, Array] = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    result = run_with_gradients(port, op, numerics, inputs, cotangents, **config)
    for name in names:
        found = result[f"grad.{name}"]
        direction = rng.standard_normal(found.shape)
        wanted = complex_step.along(lambda x: expected(config, x), inputs, {name: direction}, cotangents)
        allowed = SLOPES[numerics] * np.sqrt((found**2).sum() * (direction**2).sum()) + SLOPES[numerics]
        actual = float((found * direction).sum())
        what = f"{op} {config['architecture']} {config['bias']} {config['link']} slope by {name}"
        assert abs(actual - wanted) <= allowed, f"{what} in {numerics}: {actual:.12g}, not {wanted:.12g}"
