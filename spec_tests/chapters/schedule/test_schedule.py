"""docs/spec/schedule.md: when a memory is written, and where it begins again."""

from collections.abc import Iterator

import numpy as np
import pytest

from spec_tests.chapters.schedule.calls import Question, call, config
from spec_tests.chapters.schedule.operation import STATE
from spec_tests.contract.by_loops import assert_answers, assert_slopes
from spec_tests.contract.driver import assert_close, precisions, run, run_with_gradients
from spec_tests.contract.properties import assert_any_split_agrees, representable, unchanged
from spec_tests.drawing.inputs import splits
from spec_tests.port import Array, Op, Port
from spec_tests.tally import where_declared

SCHEDULE = Op.MEMORY_SCHEDULE
CONFIGS = (
    config(),
    config(2, 4, "chunk", step_chunk=0, warmup_crossings=0),
    config(1, 0, "document", chunk=3),
    config(4, 8, "document", warmup_crossings=1),
)
BORDER = 2
"""The token of row 0, at position 8 of its document, at which a shard of eight begins."""


def questions() -> Iterator[Question]:
    for number, asked in enumerate(CONFIGS):
        yield asked, call(asked, 1 + number, batch=3, time=13, window=3)


@pytest.mark.spec("TTL-1", "TTL-2", "TTL-3", "TTL-5", "SHARD-1", "SHARD-2", "SHARD-3", "RULE-27")
def test_writes_and_borders_are_those_of_the_schedule(port: Port) -> None:
    for numerics in precisions(port):
        for asked, inputs in questions():
            with where_declared():
                assert_answers(run(port, SCHEDULE, numerics, inputs, **asked), asked)


@pytest.mark.spec("TTL-1")
def test_a_memory_moves_at_the_last_of_every_three_tokens_of_a_document_and_at_no_other(port: Port) -> None:
    asked = config(3, 0)
    inputs = call(asked, 11)
    for numerics in precisions(port):
        with where_declared():
            place = int(inputs["position"][1])
            for time in range(1, 8):
                now = {name: v[:, :time] if v.ndim > 1 and v.shape[1] == 9 else v for name, v in inputs.items()}
                result = run(port, SCHEDULE, numerics, now, **asked)
                written = (place + time) // 3 > place // 3
                for name in ("weights", "momentum"):
                    same = np.array_equal(result[name][1], result.inputs[name][1])
                    assert same is not written, f"{name} after {time} tokens from place {place} in {numerics}"
                assert_answers(result, asked)


@pytest.mark.spec("TTL-4")
def test_without_writes_the_memory_stays_and_everything_else_goes_on(port: Port) -> None:
    for numerics in precisions(port):
        for number, asked in enumerate((config(writes=False), config(2, 4, "chunk", writes=False))):
            with where_declared():
                inputs = call(asked, 21 + number, batch=3)
                result = run(port, SCHEDULE, numerics, inputs, **asked)
                assert_answers(result, asked)
                assert not result["waiting"][1].any() or int(asked["every"]) == 1, "a loss waits that is never written"
                on = {tensor.name: result[tensor.name] for tensor in STATE}
                later = run(port, SCHEDULE, numerics, {**inputs, **on}, **{**asked, "writes": True})
                assert_answers(later, {**asked, "writes": True})


@pytest.mark.spec("TTL-5")
def test_any_split_gives_the_same_results(port: Port) -> None:
    for numerics in precisions(port):
        for asked in CONFIGS[:2]:
            with where_declared():
                assert_any_split_agrees(port, SCHEDULE, numerics, call(asked, 31), splits(9, 8), **asked)


@pytest.mark.spec("SHARD-4")
def test_rows_and_the_future_do_not_count(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            asked = config()
            inputs = call(asked, 41)
            for row in (0, 1):
                others = call(asked, 42)
                mixed = {
                    name: value if name in ("initial", "alpha_logit") else _with_row(value, others[name], row)
                    for name, value in inputs.items()
                }
                whole, among = (run(port, SCHEDULE, numerics, x, **asked) for x in (inputs, mixed))
                for name in ("reads", *(tensor.name for tensor in STATE)):
                    what = f"{name} of a row among other rows in {numerics}"
                    assert_close(among[name][row], whole[name][row], unchanged(whole, name), what)
                assert_answers(among, asked)
            late = {name: _with_future(v, others[name]) if name in TOKENS else v for name, v in inputs.items()}
            after = run(port, SCHEDULE, numerics, late, **asked)
            assert_close(
                after["reads"][:, :5], whole["reads"][:, :5], unchanged(whole, "reads"), "reads before a change"
            )
            assert not np.allclose(after["reads"][:, 5], whole["reads"][:, 5]), "a token is ignored"


TOKENS = ("keys", "values", "queries", "retention", "momentum_decay", "step_size", "window_weights")


def _with_row(value: Array, other: Array, row: int) -> Array:
    """Return another call with one row of this one."""
    mixed = other.copy()
    mixed[row] = value[row]
    return mixed


def _with_future(value: Array, other: Array) -> Array:
    """Return a sequence with other tokens from the sixth on."""
    return np.concatenate([value[:, :5], other[:, 5:]], axis=1)


@pytest.mark.spec("SHARD-5")
def test_the_gradients_are_those_of_the_loops(port: Port) -> None:
    for numerics in precisions(port):
        for number, asked in enumerate(CONFIGS):
            with where_declared():
                inputs = representable(SCHEDULE, call(asked, 51 + number, time=10))
                assert_slopes(port, SCHEDULE, numerics, asked, inputs, apart=True, seed=number + 1)


@pytest.mark.spec("SHARD-5")
def test_nothing_learns_over_a_border_but_the_rate_and_the_first_memory(port: Port) -> None:
    # Row 0 crosses its second border, behind the ramp, with the third token; row 1 stands in the middle of a shard.
    asked = config(1, 4, warmup_crossings=1, step_chunk=0)
    inputs = call(asked, 61, time=5, window=1, position=(6, 0))
    inputs["reset"] = 0 * inputs["reset"]
    weight = np.zeros((2, 5, 2, 2))
    weight[0, BORDER:] = 1.0
    for numerics in precisions(port):
        with where_declared():
            result = run_with_gradients(port, SCHEDULE, numerics, inputs, {"reads": weight}, **asked)
            for name in ("keys", "values", "queries", "step_size"):
                assert not result[f"grad.{name}"][0, :BORDER].any(), f"{name} learns over a border in {numerics}"
                assert result[f"grad.{name}"][0, BORDER:].any(), f"{name} learns nothing in {numerics}"
            for name in ("weights", "momentum", "carry"):
                assert not result[f"grad.{name}"].any(), f"{name} learns over a border in {numerics}"
            for name in ("initial", "alpha_logit"):
                assert result[f"grad.{name}"].any(), f"{name} learns nothing in {numerics}"
            assert_answers(result, asked)


@pytest.mark.spec("RULE-27")
def test_a_memory_that_is_served_in_other_chunks_takes_the_steps_of_training(port: Port) -> None:
    inputs = call(config(1, 0), 71)
    for numerics in precisions(port):
        with where_declared():
            # With M = 0 and no momentum the first write is a multiple of its gradient, whatever the chunk is.
            first = {
                **{name: v[:, :1] if v.ndim > 1 and v.shape[1] == 9 else v for name, v in inputs.items()},
                **{name: 0 * inputs[name] for name in ("weights", "anchor", "momentum", "position", "initial")},
            }
            served = [
                run(port, SCHEDULE, numerics, first, **config(1, 0, chunk=chunk, step_chunk=6)) for chunk in (1, 4, 6)
            ]
            other = run(port, SCHEDULE, numerics, first, **config(1, 0, chunk=1, step_chunk=0))
            for result in served:
                assert_close(result["weights"], served[0]["weights"], unchanged(result, "weights"), f"M in {numerics}")
            ratio = (6 + 9.0) / (1 + 9.0)
            error = np.abs(other["weights"] - ratio * served[0]["weights"]).max()
            assert error <= 4 * other.tolerance("weights") * np.abs(other["weights"]).max(), "the divisor is another"
            assert_answers(other, config(1, 0, chunk=1, step_chunk=0))
