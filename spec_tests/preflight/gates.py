"""Gates that cost nothing and say what they are told, for tests of what is done with a verdict."""

import math

import pytest
from pydantic import JsonValue

from atlas_ref.config import RunConfig
from preflight.gates import Gate
from preflight.result import Check, GateResult, Interval, Verdict, at_least, at_most, conclude
from preflight.subject import Budget, Subject

NAMES = ("first-gate", "second-gate")


def check_of(verdict: Verdict) -> Check:
    """Return a check with that verdict: 0.5 against 0.25, at most where it fails, with an interval above or across."""
    low, high = (0.125, 1.0) if verdict is Verdict.INCONCLUSIVE else (0.375, math.inf)
    check = at_most if verdict is Verdict.FAIL else at_least
    return check("margin", 0.5, 0.25, f"the margin is {verdict}", Interval(low=low, high=high, confidence=0.99))


def result_of(name: str, verdict: Verdict, seed: int = 0) -> GateResult:
    """Return a result with values of every kind that JSON has, and some that it has not."""
    evidence: dict[str, JsonValue] = {
        "losses": [1.5, math.nan, -0.0, 1e-30],
        "layers": {"0": True, "1": None},
        "text": "ü",
        "seed": seed,
    }
    return conclude(name, [check_of(Verdict.PASS), check_of(verdict)], evidence, 0.25)


class Gates:
    """Two gates whose verdicts can be set, and that write down how they were called."""

    def __init__(self) -> None:
        self.verdicts = dict.fromkeys(NAMES, Verdict.PASS)
        self.calls: list[tuple[str, RunConfig, Subject, int, Budget]] = []

    def table(self) -> dict[str, Gate]:
        """Return them as `preflight.gates.GATES` has its own."""
        return {name: self._gate(name) for name in NAMES}

    def _gate(self, name: str) -> Gate:
        def gate(config: RunConfig, subject: Subject, seed: int, budget: Budget) -> GateResult:
            self.calls.append((name, config, subject, seed, budget))
            return result_of(name, self.verdicts[name], seed)

        return gate


def put_in_place(monkeypatch: pytest.MonkeyPatch) -> Gates:
    """Let the command line find these gates instead of the real ones."""
    gates = Gates()
    monkeypatch.setattr("preflight.gates.GATES", gates.table())
    return gates
