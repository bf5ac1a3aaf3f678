"""Faults of the null and of the phases of grokking."""

from collections.abc import Callable
from typing import Final

import numpy as np

from spec_tests.chapters.grokking import oracle
from spec_tests.chapters.metrics.oracle import concentration
from spec_tests.faults.fault import Arrays, Config, Fault, with_outputs
from spec_tests.port import Op

PHASES: Final = Op.GROKKING_PHASES
UNREACHABLE: Final = "source: phases that no run reaches, or every run"
NULL: Final = "test_grokking:test_the_null_is_the_concentration_of_the_rows_in_each_other_order"
THROUGH: Final = "test_grokking:test_a_run_goes_through_its_phases"
LATE: Final = "test_grokking:test_grokking_is_late_and_held"
RISING: Final = "test_grokking:test_what_rises_is_sure_to_by_the_steps_of_the_last_five"
SOURCE: Final = "test_grokking:test_the_source_asks_for_more_concentration_in_each_phase"
ENDED: Final = "test_grokking:test_a_phase_is_that_of_a_run_which_ended_there"

Changed = Callable[[Arrays], Arrays]
"""From the measurements to others, which a port with the fault takes them for."""


def _of(change: Changed, judge: str = "") -> Callable[[Config, Arrays, Arrays], Arrays]:
    """Return the phases of other measurements than were given, or by another judge."""

    def answer(config: Config, x: Arrays, _: Arrays) -> Arrays:
        return {"phase": oracle.phases({**x, **change(x)}, judge or str(config["judge"]))}

    return answer


def _clipped(name: str, low: float, high: float, to: float) -> Changed:
    """Take values of a measurement in [low, high) for another."""
    return lambda x: {name: np.where((x[name] >= low) & (x[name] < high), to, x[name])}


def _not_carried(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    """Answers what begins, and none while nothing does."""
    quiet = np.diff(outputs["phase"], prepend=0) == 0
    return {"phase": np.where(quiet, 0, outputs["phase"])}


def _hindsight(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    """Smooths the phases over the measurement to come."""
    later = np.concatenate([outputs["phase"][1:], outputs["phase"][-1:]])
    return {"phase": np.maximum(outputs["phase"], later)}


FAULTS: Final[tuple[Fault, ...]] = (
    Fault(
        "grok-null-of-the-embedding",
        "GROK-8a",
        Op.CONCENTRATION_NULL,
        NULL,
        with_outputs(
            lambda config, x, y: {
                "null": np.full_like(y["null"], concentration(x["embedding"].astype(np.float64), int(config["top"])))
            }
        ),
        UNREACHABLE,
    ),
    Fault(
        "grok-null-of-one-frequency",
        "GROK-8b",
        Op.CONCENTRATION_NULL,
        NULL,
        with_outputs(lambda _, x, __: {"null": oracle.null(x["embedding"].astype(np.float64), x["permutations"], 1)}),
        UNREACHABLE,
    ),
    Fault(
        "grok-memorised-whatever-the-circuits",
        "GROK-9a",
        PHASES,
        THROUGH,
        with_outputs(_of(lambda x: {"concentration": np.where(x["validation"] < 0.5, 0.0, x["concentration"])})),
        UNREACHABLE,
    ),
    Fault(
        "grok-memorised-by-chance-alone",
        "GROK-9b",
        PHASES,
        THROUGH,
        with_outputs(
            lambda _, x, y: {"phase": np.where((y["phase"] == 1) & (x["concentration"] > x["null"]), 0, y["phase"])}
        ),
        UNREACHABLE,
    ),
    Fault(
        "grok-circuits-without-a-null",
        "GROK-9c",
        PHASES,
        THROUGH,
        with_outputs(_of(lambda x: {"null": 0.0 * x["null"]})),
        UNREACHABLE,
    ),
    Fault(
        "grok-circuits-that-do-not-rise",
        "GROK-9d",
        PHASES,
        RISING,
        with_outputs(
            lambda _, x, y: {
                "phase": np.where((x["concentration"] > x["null"]) & (x["validation"] < 0.9), 2, y["phase"])
            }
        ),
        UNREACHABLE,
    ),
    Fault(
        "grok-circuits-while-the-norm-grows",
        "GROK-9e",
        PHASES,
        THROUGH,
        with_outputs(_of(lambda x: {"norm": np.where(x["validation"] < 0.9, 1e4 - x["step"], x["norm"])})),
        UNREACHABLE,
    ),
    Fault(
        "grok-cleanup-of-a-norm-that-stays",
        "GROK-9f",
        PHASES,
        THROUGH,
        with_outputs(_of(lambda x: {"norm": -1.0 * x["step"].astype(np.float64)})),
        UNREACHABLE,
    ),
    Fault(
        "grok-grokked-at-once",
        "GROK-9g",
        PHASES,
        THROUGH,
        with_outputs(lambda _, x, y: {"phase": np.where((x["validation"] >= 0.95) & (y["phase"] == 3), 4, y["phase"])}),
        UNREACHABLE,
    ),
    Fault(
        "grok-grokked-though-never-late",
        "GROK-9h",
        PHASES,
        LATE,
        with_outputs(_of(lambda x: {"training": np.where(np.arange(len(x["step"])) == 0, 1.0, x["training"])})),
        UNREACHABLE,
    ),
    Fault("grok-phase-forgotten", "GROK-9i", PHASES, THROUGH, with_outputs(_not_carried), UNREACHABLE),
    Fault(
        "grok-any-slope-rises",
        "GROK-10a",
        PHASES,
        RISING,
        with_outputs(
            lambda _, x, y: {
                "phase": np.where(np.diff(x["concentration"], prepend=1.0) > 0, np.maximum(y["phase"], 2), y["phase"])
            }
        ),
        UNREACHABLE,
    ),
    Fault(
        "grok-slope-over-the-count",
        "GROK-10b",
        PHASES,
        RISING,
        with_outputs(_of(lambda x: {"step": np.arange(len(x["step"]))})),
        "source: a slope over entries of a list, whatever the steps between them",
    ),
    Fault(
        "grok-two-measurements-rise",
        "GROK-10c",
        PHASES,
        RISING,
        with_outputs(
            lambda _, x, y: {
                "phase": np.where((np.arange(len(x["step"])) == 1) & (x["concentration"] > x["null"]), 2, y["phase"])
            }
        ),
        UNREACHABLE,
    ),
    Fault(
        "grok-source-without-the-first",
        "GROK-11a",
        PHASES,
        SOURCE,
        with_outputs(_of(lambda x: {}, "null")),
        UNREACHABLE,
    ),
    Fault(
        "grok-source-without-the-second",
        "GROK-11b",
        PHASES,
        SOURCE,
        with_outputs(_of(_clipped("concentration", 0.55, 0.61, 0.7))),
        UNREACHABLE,
    ),
    Fault(
        "grok-source-without-the-third",
        "GROK-11c",
        PHASES,
        SOURCE,
        with_outputs(_of(_clipped("concentration", 0.61, 0.81, 0.85))),
        UNREACHABLE,
    ),
    Fault("grok-phase-in-hindsight", "GROK-12", PHASES, ENDED, with_outputs(_hindsight), UNREACHABLE),
)
