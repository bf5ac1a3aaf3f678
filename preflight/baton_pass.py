"""The gate `baton-pass`: nothing is checked yet, so that its verdict is INCONCLUSIVE."""

from atlas_ref.config import RunConfig
from preflight.result import GateResult, conclude
from preflight.subject import Budget, Subject


def baton_pass(config: RunConfig, subject: Subject, seed: int, budget: Budget) -> GateResult:
    """Check nothing yet."""
    del config, subject, seed, budget
    return conclude("baton-pass", [], {}, 0.0)
