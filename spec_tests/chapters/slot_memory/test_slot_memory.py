"""docs/spec/slot_memory.md, against a loop and central differences."""

import numpy as np
import pytest

from spec_tests.chapters.slot_memory.calls import axes, call, fresh
from spec_tests.chapters.slot_memory.oracle import slot_memory
from spec_tests.contract.driver import Result, assert_close, assert_same, precisions, run, run_with_gradients
from spec_tests.contract.properties import (
    assert_any_split_agrees,
    assert_gradients,
    assert_rows_independent,
    replaced,
    representable,
    unchanged,
)
from spec_tests.drawing.inputs import central_difference, generator, positions, splits
from spec_tests.port import Array, Op, Port
from spec_tests.tally import where_declared

SLOT = Op.SLOT_MEMORY
RESULTS = ("novelty", "read_at", "slots", "y")


def case(seed: int, time: int = 13, count: int = 4) -> dict[str, Array]:
    return call(100 * seed, positions(3, time, seed), count)


def running(seed: int, time: int = 13, count: int = 4) -> dict[str, Array]:
    """Return a call whose documents go on from before it and do not end."""
    return call(100 * seed, 5 + np.arange(time) + np.arange(3)[:, None], count)


def assert_all(result: Result, threshold: float, *names: str) -> None:
    wanted = slot_memory(result.inputs, threshold)
    for name in names:
        result.assert_close(name, wanted[name])


@pytest.mark.spec("SLOT-1")
def test_the_novelty_is_what_the_nearest_slot_leaves(port: Port) -> None:
    for numerics in precisions(port):
        for threshold in (0.2, 0.7):
            with where_declared():
                assert_all(run(port, SLOT, numerics, running(1), threshold=threshold), threshold, "novelty")


@pytest.mark.spec("SLOT-1")
def test_nothing_is_near_where_no_slot_is_in_use_and_to_a_zero_vector(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            found = run(port, SLOT, numerics, fresh(axes(2, -2, 0, 2, 0), 5), threshold=0.75)
            found.assert_close("novelty", np.array([[1.0, 2.0, 1.0, 0.0, 1.0]]))


@pytest.mark.spec("SLOT-1")
def test_only_directions_are_compared(port: Port) -> None:
    for numerics in precisions(port):
        inputs = running(2)
        lengths = np.array([1e18, 1e-18, 1.0, 30.0, 1e-3, 1e12])[np.arange(13) % 6]
        with where_declared():
            # Nothing is written, and nobody looks at the reads of such tokens.
            plain = run(port, SLOT, numerics, inputs, threshold=2.5)
            scaled = run(port, SLOT, numerics, {**inputs, "x": inputs["x"] * lengths[:, None]}, threshold=2.5)
            scaled.assert_close("novelty", slot_memory(scaled.inputs, 2.5)["novelty"])
            assert np.abs(scaled["novelty"] - plain["novelty"]).max() < 2e-2, "a length counts"


@pytest.mark.spec("SLOT-2")
def test_a_token_is_written_as_it_is_where_its_novelty_is_above_the_threshold(port: Port) -> None:
    for numerics in precisions(port):
        for threshold in (-0.5, 0.3, 0.7, 1.2):
            with where_declared():
                assert_all(run(port, SLOT, numerics, running(3), threshold=threshold), threshold, "slots")


@pytest.mark.spec("SLOT-2")
def test_a_novelty_that_is_the_threshold_is_not_above_it(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            found = run(port, SLOT, numerics, fresh(axes(1, 2, -1), 3), threshold=1.0)
            assert_same(found["slots"], np.zeros((1, 3, 4)), "slots of axes at a threshold of 1")
            found = run(port, SLOT, numerics, fresh(axes(1, 2, -1), 3), threshold=0.5)
            assert_same(found["slots"], axes(1, 2, -1), "slots of axes at a threshold of 1/2")


@pytest.mark.spec("SLOT-3")
def test_the_first_slot_that_is_not_in_use_is_filled_and_then_the_one_read_longest_ago(port: Port) -> None:
    inputs = running(4, time=6, count=5)
    inputs["read_at"] = np.array([[3, -1, 4, -1, 1], [2, 4, 1, 3, 0], [5, 1, 1, 6, 1]])
    for numerics in precisions(port):
        with where_declared():
            assert_all(run(port, SLOT, numerics, inputs, threshold=0.1), 0.1, *RESULTS)


@pytest.mark.spec("SLOT-4")
def test_a_read_is_attention_over_the_slots_in_use_after_the_write(port: Port) -> None:
    for numerics in precisions(port):
        for threshold in (0.2, 0.7, 2.5):
            with where_declared():
                assert_all(run(port, SLOT, numerics, case(5), threshold=threshold), threshold, "y")


@pytest.mark.spec("SLOT-4")
def test_an_empty_memory_reads_zero(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            inputs = fresh(generator(6).standard_normal((2, 5, 3)), 4)
            found = run(port, SLOT, numerics, inputs, threshold=1.0)
            assert_same(found["y"], np.zeros((2, 5, 3)), "reads of an empty memory")
            # And of one that stores, what it stored.
            assert_all(run(port, SLOT, numerics, inputs, threshold=0.5), 0.5, "y")


@pytest.mark.spec("SLOT-5")
def test_a_slot_counts_as_read_by_whom_it_weighs_most_and_by_whom_it_holds(port: Port) -> None:
    for numerics in precisions(port):
        for threshold in (0.2, 0.9, 2.5):
            with where_declared():
                assert_all(run(port, SLOT, numerics, running(7), threshold=threshold), threshold, "read_at")
        with where_declared():
            # Two slots alike: the first of them weighs most. A written token counts, though another slot weighs more.
            twins = fresh(axes(3, 1), 3) | {"position": np.array([[8, 9]]), "read_at": np.array([[2, 5, 3]])}
            twins["slots"] = np.concatenate([axes(2), axes(3), axes(3)], axis=1)
            found = run(port, SLOT, numerics, twins, threshold=2.5)
            assert_same(found["read_at"], np.array([[9, 8, 3]]), "read_at of slots alike")
            longer = twins | {"x": np.array([[[1.0, 1.0, 0.0, 0.0]]]), "position": np.array([[8]])}
            longer["slots"] = np.concatenate([axes(3), 9.0 * axes(2), axes(4)], axis=1)
            found = run(port, SLOT, numerics, longer, threshold=0.2)
            assert_same(found["read_at"], np.array([[8, 8, 3]]), "read_at of a slot written and one read")


@pytest.mark.spec("SLOT-6")
def test_a_document_finds_no_slot_in_use_whatever_came_before(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            inputs = case(8)
            inputs["position"] = np.stack([np.arange(13) % 6, np.arange(13), 7 + np.arange(13)])
            inputs["read_at"][1] = np.arange(4)
            among = run(port, SLOT, numerics, inputs, threshold=0.4)
            assert_all(among, 0.4, *RESULTS)
            inputs["slots"][:2] += 3.0
            inputs["x"][0, :6] -= 5.0
            other = run(port, SLOT, numerics, inputs, threshold=0.4)
            for name in ("y", "novelty"):
                near = unchanged(among, name)
                assert_close(other[name][0, 6:], among[name][0, 6:], near, f"{name} of the second document")
                assert_close(other[name][1], among[name][1], near, f"{name} of a row that begins with the call")


@pytest.mark.spec("SLOT-6")
def test_a_slot_that_is_not_in_use_may_hold_anything_and_comes_back_as_zeros(port: Port) -> None:
    inputs = running(9, time=2, count=6)
    inputs["read_at"] = np.where(np.arange(6) % 3 == 1, 2, -1) + np.zeros((3, 1), dtype=np.int64)
    weights = {"y": generator(10).standard_normal((3, 2, 3)), "slots": np.ones((3, 6, 3))}
    for numerics in precisions(port):
        with where_declared():
            plain = run_with_gradients(port, SLOT, numerics, inputs, weights, threshold=0.4)
            assert_all(plain, 0.4, *RESULTS)
            assert_same(plain["slots"][:, 5], np.zeros((3, 3)), "the slot that nobody used")
            for rubbish in (7.5, np.nan, -np.inf):
                spoilt = np.where(inputs["read_at"][..., None] < 0, rubbish, inputs["slots"])
                given = {**inputs, "slots": spoilt}
                found = run_with_gradients(port, SLOT, numerics, given, weights, threshold=0.4)
                for name in (*RESULTS, "grad.x", "grad.slots"):
                    what = f"{name} with {rubbish} in slots that are not in use"
                    assert_close(found[name], plain[name], unchanged(plain, name), what)


@pytest.mark.spec("SLOT-7")
def test_any_split_gives_the_same_results(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_any_split_agrees(port, SLOT, numerics, case(11), splits(13, 12), threshold=0.4)


@pytest.mark.spec("SLOT-8")
def test_rows_are_independent(port: Port) -> None:
    for numerics in precisions(port):
        with where_declared():
            assert_rows_independent(port, SLOT, numerics, case(12), threshold=0.4)


@pytest.mark.spec("SLOT-8")
def test_the_future_does_not_count(port: Port) -> None:
    inputs = running(13)
    for numerics in precisions(port):
        with where_declared():
            before = run(port, SLOT, numerics, inputs, threshold=0.4)
            for t in (1, 6, 12):
                later = np.arange(13)[:, None] >= t
                changed = {**inputs, "x": np.where(later, replaced(inputs["x"], "activation", t), inputs["x"])}
                after = run(port, SLOT, numerics, changed, threshold=0.4)
                for name in ("novelty", "y"):
                    moved = np.abs(after[name] - before[name])
                    assert moved[:, :t].max() <= unchanged(before, name), f"{name} before a change at {t}"
                    assert moved[:, t].max() > 1e-3, f"{name} ignores the token at {t}"


@pytest.mark.spec("SLOT-9")
def test_the_gradient_flows_through_what_is_stored_and_read_and_not_through_the_choice(port: Port) -> None:
    inputs = representable(SLOT, running(14, time=6, count=3))
    rng = generator(15)
    weights = {"y": rng.standard_normal((3, 6, 3)), "slots": rng.standard_normal((3, 3, 3))}

    def loss(**changed: Array) -> float:
        found = slot_memory({**inputs, **changed}, 0.6)
        return float(sum((found[name] * weight).sum() for name, weight in weights.items()))

    expected = {
        "x": central_difference(lambda x: loss(x=x), inputs["x"]),
        "slots": central_difference(lambda slots: loss(slots=slots), inputs["slots"]),
    }
    cotangents = {**weights, "novelty": rng.standard_normal((3, 6))}
    assert_gradients(port, SLOT, inputs, cotangents, expected, threshold=0.6)
