"""docs/spec/grokking.md, against a walk through constructed runs."""

import numpy as np
import pytest

from spec_tests.chapters.grokking.histories import COUNT, HISTORIES
from spec_tests.chapters.grokking.oracle import null, phases
from spec_tests.contract.driver import precisions, run
from spec_tests.drawing.inputs import generator, normal
from spec_tests.port import Array, Numerics, Op, Port
from spec_tests.tally import where_declared

REACHED = {
    "textbook": {0, 1, 2, 3, 4},
    "at once": {0, 2, 3},
    "early": {0, 1, 2, 3, 4},
    "known": {0, 1},
    "dissolved": {0, 1, 2},
    "never": {0, 1},
    "relapse": {0, 1, 2, 3, 4},
    "plain": {0},
    "bent": {0, 1},
    "concentrated": {0, 1, 2, 3, 4},
    "fine": {0, 1, 2, 3, 4},
}
"""The phases of each run, which end in the last; GROK-9 decides their order."""


def asked(port: Port, numerics: Numerics, name: str, judge: str, measured: int = COUNT) -> tuple[Array, Array]:
    """Return the phases that a port finds in a run so far, and what they are."""
    history = {part: values[:measured] for part, values in HISTORIES[name].items()}
    found = run(port, Op.GROKKING_PHASES, numerics, history, judge=judge)
    return np.asarray(found["phase"]), phases(dict(found.inputs), judge)


@pytest.mark.spec("GROK-8")
def test_the_null_is_the_concentration_of_the_rows_in_each_other_order(port: Port) -> None:
    rng = generator(7)
    for numerics in precisions(port):
        for numbers, dim, top in ((11, 3, 1), (12, 5, 2), (23, 18, 5)):
            with where_declared():
                orders = np.stack([rng.permutation(numbers) for _ in range(4)])
                inputs = {"embedding": normal(numbers, numbers, dim) + 1.0, "permutations": orders}
                found = run(port, Op.CONCENTRATION_NULL, numerics, inputs, top=top)
                found.assert_close("null", null(found.inputs["embedding"], orders, top))


@pytest.mark.spec("GROK-9")
def test_a_run_goes_through_its_phases(port: Port) -> None:
    for numerics in precisions(port):
        for name, reached in REACHED.items():
            with where_declared():
                found, wanted = asked(port, numerics, name, "null")
                assert set(wanted.tolist()) == reached, f"{name} was made to reach others"
                assert np.array_equal(found, wanted), f"{name}: {found} and not {wanted}"


@pytest.mark.spec("GROK-9")
def test_grokking_is_late_and_held(port: Port) -> None:
    textbook = HISTORIES["textbook"]
    for numerics in precisions(port):
        # Memorised at step 180: right from 359 on is early, from 360 on it is late.
        for late in (359, 360):
            with where_declared():
                history = {**textbook, "validation": np.where(textbook["step"] < 400, 0.0, 0.97)}
                history["step"] = np.where(textbook["step"] == 400, late, textbook["step"])
                found = run(port, Op.GROKKING_PHASES, numerics, history, judge="null")
                assert np.array_equal(found["phase"], phases(dict(found.inputs), "null"))
                assert (4 in found["phase"]) == (late == 360), f"right from step {late} on: {found['phase']}"


@pytest.mark.spec("GROK-9", "GROK-10")
def test_what_rises_is_sure_to_by_the_steps_of_the_last_five(port: Port) -> None:
    rng = generator(19)
    for numerics in precisions(port):
        with where_declared():
            answer, wanted = asked(port, numerics, "bent", "null")
            assert np.array_equal(answer, wanted), f"surely by the count, not by the steps: {answer}"
    base = {**HISTORIES["never"], "null": np.zeros(COUNT)}
    for numerics in precisions(port):
        for spread in (0.05, 0.3, 1.0):
            with where_declared():
                step = np.cumsum(rng.choice([1, 2, 40, 300], COUNT))
                trend = np.linspace(0.1, 0.6, COUNT) + 0.1 * spread * rng.standard_normal(COUNT)
                history = {**base, "step": step, "training": 0.5 + 0.0 * trend, "concentration": trend}
                history["norm"] = 5000.0 - step
                found = run(port, Op.GROKKING_PHASES, numerics, history, judge="null")
                assert np.array_equal(found["phase"], phases(dict(found.inputs), "null")), f"spread {spread}"


@pytest.mark.spec("GROK-11")
def test_the_source_asks_for_more_concentration_in_each_phase(port: Port) -> None:
    for numerics in precisions(port):
        for name in ("concentrated", "textbook"):
            with where_declared():
                found, wanted = asked(port, numerics, name, "source")
                assert np.array_equal(found, wanted), f"{name}: {found} and not {wanted}"


@pytest.mark.spec("GROK-12")
def test_a_phase_is_that_of_a_run_which_ended_there(port: Port) -> None:
    for numerics in precisions(port):
        for measured in (1, 2, 3, 9, 13, 15):
            with where_declared():
                found, wanted = asked(port, numerics, "relapse", "null", measured)
                assert np.array_equal(found, wanted), f"after {measured}: {found} and not {wanted}"
                assert np.array_equal(found, phases(dict(HISTORIES["relapse"]), "null")[:measured])
