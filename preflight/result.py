"""What a gate says: a verdict, and every number that it stands on.

A check compares a statistic with a threshold. Where the statistic is an estimate it has a confidence interval, and only
an interval that lies wholly on one side decides: across the threshold the verdict is INCONCLUSIVE, which starts no
training. A gate that checked nothing is INCONCLUSIVE too, and a number that is not a number fails.
The models are written to JSON as they are. Whatever is read is judged again: a verdict that does not follow from the
numbers beside it, or that is not the worst of its checks, is refused.
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


class Side(StrEnum):
    """On which side of its threshold a statistic must lie; the threshold itself is on either."""

    AT_LEAST = "at least"
    AT_MOST = "at most"


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
    """One statistic against one threshold; the sentence says what was found in words and units.

    can_fail: false where a shortfall says only that nothing could be seen, which is INCONCLUSIVE.
    """

    name: str
    statistic: float
    side: Side
    threshold: float
    can_fail: bool
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
    def _verdicts_follow_from_numbers(self) -> "GateResult":
        for check in self.checks:
            found = _decide(check.side, check.threshold, check.can_fail, _numbers(check.statistic, check.interval))
            if check.verdict is not found:
                raise ValueError(
                    f'the check "{check.name}" of {self.gate} says {check.verdict}, but its numbers say {found}: '
                    f"{check.statistic:.4g} was to be {check.side} {check.threshold:.4g}"
                )
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


def at_least(
    name: str,
    statistic: float,
    threshold: float,
    sentence: str,
    interval: Interval | None = None,
    *,
    can_fail: bool = True,
) -> Check:
    """Return the check that a statistic is at least `threshold`; with an interval, all of it must be."""
    return _check(name, statistic, Side.AT_LEAST, threshold, can_fail, interval, sentence)


def at_most(
    name: str,
    statistic: float,
    threshold: float,
    sentence: str,
    interval: Interval | None = None,
    *,
    can_fail: bool = True,
) -> Check:
    """Return the check that a statistic is at most `threshold`; with an interval, all of it must be."""
    return _check(name, statistic, Side.AT_MOST, threshold, can_fail, interval, sentence)


def powered(name: str, statistic: float, threshold: float, sentence: str, interval: Interval | None = None) -> Check:
    """Return the check that a fault could have been seen: `at_least`, but INCONCLUSIVE where that would fail."""
    return at_least(name, statistic, threshold, sentence, interval, can_fail=False)


def _numbers(statistic: float, interval: Interval | None) -> tuple[float, ...]:
    return (statistic,) if interval is None else (statistic, interval.low, interval.high)


def _decide(side: Side, threshold: float, can_fail: bool, numbers: Sequence[float]) -> Verdict:
    """Return PASS where all numbers are on the side, and where none is FAIL, or INCONCLUSIVE if that cannot be."""
    holds = [number >= threshold if side is Side.AT_LEAST else number <= threshold for number in numbers]
    if all(holds):
        return Verdict.PASS
    fails = not any(holds) or any(math.isnan(number) for number in numbers)
    return Verdict.FAIL if fails and can_fail else Verdict.INCONCLUSIVE


def _check(
    name: str,
    statistic: float,
    side: Side,
    threshold: float,
    can_fail: bool,
    interval: Interval | None,
    sentence: str,
) -> Check:
    return Check(
        name=name,
        statistic=statistic,
        side=side,
        threshold=threshold,
        can_fail=can_fail,
        interval=interval,
        verdict=_decide(side, threshold, can_fail, _numbers(statistic, interval)),
        sentence=sentence,
    )
