"""All gates by name, in the order in which they run: cheap ones first."""

from collections.abc import Callable

from atlas_ref.config import RunConfig
from preflight.baton_pass import baton_pass
from preflight.memory_ablation import memory_ablation
from preflight.proof_of_life import proof_of_life
from preflight.result import GateResult
from preflight.seed_competition import seed_competition
from preflight.subject import Budget, Subject

Gate = Callable[[RunConfig, Subject, int, Budget], GateResult]

GATES: dict[str, Gate] = {
    "proof-of-life": proof_of_life,
    "baton-pass": baton_pass,
    "seed-competition": seed_competition,
    "memory-ablation": memory_ablation,
}
