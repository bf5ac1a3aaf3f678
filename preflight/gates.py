"""All gates by name, in the order in which they run, cheap ones first; which of them a run must pass its model says."""

from collections.abc import Callable

from atlas_ref.config import RunConfig
from atlas_ref.config.model import ModelConfig
from preflight.baton_pass import baton_pass
from preflight.held_out import held_out
from preflight.memory_ablation import memory_ablation
from preflight.proof_of_life import proof_of_life
from preflight.proof_of_recursion import proof_of_recursion
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
"""Of a memory that is written at test time."""

RECURSION_GATES: dict[str, Gate] = {"proof-of-recursion": proof_of_recursion}
"""Of a model that has none, and answers several times."""

HELD_OUT_GATES: dict[str, Gate] = {"held-out": held_out}
"""Of whatever model is to generalise from a share of all questions."""


def gates_of(config: RunConfig) -> dict[str, Gate]:
    """Return the gates that a run must pass."""
    if config.data.source == "arithmetic":
        return HELD_OUT_GATES
    return GATES if isinstance(config.any_model, ModelConfig) else RECURSION_GATES
