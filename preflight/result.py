"""What a gate says: a verdict, and every number that it stands on.

A check compares a statistic with a threshold. Where the statistic is an estimate it has a confidence interval, and only
an interval that lies wholly on one side decides: across the threshold the verdict is INCONCLUSIVE, which starts no
training. A gate that checked nothing is INCONCLUSIVE too, and a number that is not a number fails.
The models are written to JSON as they are; one whose verdict is not the worst of its checks is refused when read.
"""

import math
from collections.abc import Sequence
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, JsonValue, model_validator


class Verdict(StrEnum):
    """What is known: that it works, that it does not, or neither."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


_SEVERITY = (Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL)


class Record(BaseModel):
    """A frozen record that survives JSON, infinities and NaN included."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Interval(Record):
    """Where the true value lies, with this confidence; infinite where too few samples say nothing."""

    low: float
    high: float
    confidence: float


class Check(Record):
    """One statistic against one threshold; the sentence says what was found in words and units."""

    name: str
    statistic: float
    threshold: float
    interval: Interval | None
    verdict: Verdict
    sentence: str


class GateResult(Record):
    """What a gate found, and how long it took; evidence holds what explains the checks and decides nothing."""

    gate: str
    verdict: Verdict
    checks: tuple[Check, ...]
    evidence: dict[str, JsonValue]
    seconds: float

    @model_validator(mode="after")
    def _verdict_follows_from_checks(self) -> "GateResult":
        if self.verdict is not worst(self.checks):
            raise ValueError(f"the verdict of {self.gate} is {self.verdict}, but its checks say {worst(self.checks)}")
        return self


def worst(judged: Sequence[Check | GateResult]) -> Verdict:
    """Return the worst verdict, FAIL before INCONCLUSIVE before PASS; of nothing, INCONCLUSIVE."""
    if not judged:
        return Verdict.INCONCLUSIVE
    return max((each.verdict for each in judged), key=_SEVERITY.index)


def conclude(gate: str, checks: Sequence[Check], evidence: dict[str, JsonValue], seconds: float) -> GateResult:
    """Return the result of a gate: its verdict is the worst of its checks."""
    return GateResult(gate=gate, verdict=worst(checks), checks=tuple(checks), evidence=evidence, seconds=seconds)


def at_least(name: str, statistic: float, threshold: float, sentence: str, interval: Interval | None = None) -> Check:
    """Return the check that a statistic is at least `threshold`; with an interval, all of it must be."""
    low, high = (statistic, statistic) if interval is None else (interval.low, interval.high)
    verdict = _decide(passes=low >= threshold, fails=high < threshold, numbers=(statistic, low, high))
    return _check(name, statistic, threshold, interval, verdict, sentence)


def at_most(name: str, statistic: float, threshold: float, sentence: str, interval: Interval | None = None) -> Check:
    """Return the check that a statistic is at most `threshold`; with an interval, all of it must be."""
    low, high = (statistic, statistic) if interval is None else (interval.low, interval.high)
    verdict = _decide(passes=high <= threshold, fails=low > threshold, numbers=(statistic, low, high))
    return _check(name, statistic, threshold, interval, verdict, sentence)


def powered(name: str, statistic: float, threshold: float, sentence: str, interval: Interval | None = None) -> Check:
    """Return the check that a fault could have been seen: `at_least`, but INCONCLUSIVE where that would fail."""
    check = at_least(name, statistic, threshold, sentence, interval)
    if check.verdict is Verdict.PASS:
        return check
    return check.model_copy(update={"verdict": Verdict.INCONCLUSIVE})


def _decide(passes: bool, fails: bool, numbers: Sequence[float]) -> Verdict:
    if fails or any(math.isnan(number) for number in numbers):
        return Verdict.FAIL
    return Verdict.PASS if passes else Verdict.INCONCLUSIVE


def _check(
    name: str, statistic: float, threshold: float, interval: Interval | None, verdict: Verdict, sentence: str
) -> Check:
    return Check(
        name=name,
        statistic=statistic,
        threshold=threshold,
        interval=interval,
        verdict=verdict,
        sentence=sentence,
    )
