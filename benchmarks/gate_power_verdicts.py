"""The truth and the verdict of a case of the study of the gates, from the lines of its parts.

    margin      recall, episodes and relay: accuracy - accuracy of the twin; text: loss of the twin - loss, in nats
    beats       the 99% interval of the margin over held-out batches lies above 0
    learned     and for recall above what the values of a row are worth to a memory that does not bind them to keys,
                1 / pairs: a run that is still on its plateau beats its twin by a few answers in a hundred

A check is judged again by the present threshold of its name, so that a study need not be made again for another one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from atlas_ref.config import RunConfig
from benchmarks.gate_power_cases import HALVES, Case
from preflight.budget import default_budget
from preflight.heard import HEARD, LASTS, LEAST_KEPT, TRAVELS, least_echo, least_travel
from preflight.proof_of_life import GATE
from preflight.rehearsal import FOLLOWS, rehearsed_steps
from preflight.result import Check, GateResult, Verdict, at_least, worst
from preflight.statistics import mean_interval, paired_differences

Lines = dict[tuple[str, str], dict[str, Any]]
"""The lines of a study by case and part."""
NEW: Final[Mapping[str, Callable[[RunConfig, float | None], float]]] = {
    LASTS: lambda *_: LEAST_KEPT,
    HEARD: lambda config, _: least_echo(config),
    TRAVELS: least_travel,
}
"""Checks that the gates did not have when no task said how far back its answers lie, and their thresholds.

Nor had they that of the rehearsal, which keeps the threshold of its line: a growth is one of the steps that it was
asked of.
"""
RUN, TWIN, EARLIER, LIFE = "memory", "twin", "earlier", "life"


@dataclass(frozen=True)
class Judged:
    """A case with all of its parts: what came of it, and what was said before."""

    case: Case
    learned: bool
    margin: float
    interval: tuple[float, float]
    gates: Mapping[str, GateResult]
    earlier: Mapping[str, GateResult]
    seconds: Mapping[str, float]

    @property
    def beats(self) -> bool:
        """Whether it is better than its twin by any margin."""
        return self.interval[0] > 0.0

    @property
    def out_of_sight(self) -> bool:
        """Whether its answers lie where the memory alone can bring them, so that PASS promises that it learns."""
        life = self.gates.get("proof-of-life")
        evidence: Any = None if life is None else life.evidence
        return evidence is not None and bool(evidence["span"].get("out_of_sight"))

    def passes(self, gates: Mapping[str, GateResult]) -> bool:
        """Return whether all of these gates pass."""
        return worst(list(gates.values())) is Verdict.PASS


def hopeless(case: Case, lines: Lines) -> bool:
    """Return whether the run of a case is too bad to have learned, whatever its twin is: margin <= accuracy."""
    run = lines[case.name, RUN]
    if run["failure"] is not None:
        return True
    return case.group != "text" and float(np.mean(run["held_accuracy"])) <= _unbound(case)


def outdated(case: Case, lines: Lines) -> bool:
    """Return whether the gates of a case are from before Proof of Life rehearsed the run, which it would do now."""
    config, line = case.config(), lines.get((case.name, "gates"), {"gates": []})
    life = [each for each in line["gates"] if each["gate"] == GATE]
    known = FOLLOWS in {check["name"] for each in life for check in each["checks"]}
    return bool(life) and not known and rehearsed_steps(config, default_budget(config)) is not None


def judge(case: Case, lines: Lines) -> Judged | None:
    """Return a case whose parts are all there; a later draw has no gates as they were, a hopeless run no twin.

    Proof of Life as it was found anew takes the place of an outdated one.
    """
    gates, run = lines.get((case.name, "gates")), lines.get((case.name, RUN))
    earlier = lines.get((case.name, EARLIER), None if case.half in HALVES else {"gates": [], "seconds": 0.0})
    twin, life = lines.get((case.name, TWIN)), lines.get((case.name, LIFE))
    if gates is None or run is None or earlier is None or (twin is None and not hopeless(case, lines)):
        return None
    if life is None and outdated(case, lines):
        return None
    margin, interval = (0.0, (0.0, 0.0)) if twin is None else _margin(case, run, twin)
    config = case.config()
    anew = life["gates"] if life is not None else []
    results = {each["gate"]: GateResult.model_validate(each) for each in (*gates["gates"], *anew)}
    before = {each["gate"]: GateResult.model_validate(each) for each in earlier["gates"]}
    found = {"gates": gates, EARLIER: earlier, RUN: run, TWIN: twin or {"seconds": 0.0}}
    return Judged(
        case=case,
        learned=interval[0] > _unbound(case),
        margin=margin,
        interval=interval,
        gates={
            name: _with(result, [_again(config, check, result) for check in result.checks])
            for name, result in results.items()
        },
        earlier={
            name: before.get(
                name, _with(result, [check for check in result.checks if check.name not in {*NEW, FOLLOWS}])
            )
            for name, result in results.items()
        },
        seconds={part: float(line["seconds"]) for part, line in found.items()},
    )


def _margin(case: Case, memory: Mapping[str, Any], twin: Mapping[str, Any]) -> tuple[float, tuple[float, float]]:
    """Return the margin over the twin and its interval; a run that broke off has learned nothing."""
    if memory["failure"] is not None or twin["failure"] is not None:
        return 0.0, (0.0, 0.0)
    if case.group == "text":
        samples = paired_differences(twin["held_loss"], memory["held_loss"])
    else:
        samples = paired_differences(memory["held_accuracy"], twin["held_accuracy"])
    interval = mean_interval(samples)
    return float(np.mean(samples)), (interval.low, interval.high)


def _unbound(case: Case) -> float:
    """Return the margin of a memory that keeps the values of a row without their keys."""
    data = case.config().data
    return 1.0 / data.recall.pairs if data.source == "recall" else 0.0


def _again(config: RunConfig, check: Check, result: GateResult) -> Check:
    """Return a check of a gate judged by its present threshold, with the echo that the gate found."""
    if check.name not in NEW:
        return check
    evidence: Any = result.evidence
    threshold = NEW[check.name](config, evidence["echo"])
    return at_least(check.name, check.statistic, threshold, check.sentence, check.interval)


def _with(result: GateResult, checks: list[Check]) -> GateResult:
    return result.model_copy(update={"checks": tuple(checks), "verdict": worst(checks)})
