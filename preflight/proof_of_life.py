"""The gate `proof-of-life`: nothing is checked yet, so that its verdict is INCONCLUSIVE."""

from atlas_ref.config import RunConfig
from preflight.result import GateResult, conclude
from preflight.subject import Budget, Subject


def proof_of_life(config: RunConfig, subject: Subject, seed: int, budget: Budget) -> GateResult:
    """Check nothing yet."""
    del config, subject, seed, budget
    return conclude("proof-of-life", [], {}, 0.0)
