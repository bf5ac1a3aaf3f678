"""How much the gates spend unless the command line says otherwise: what decides on `tiny` within a minute."""

from collections.abc import Iterator
from dataclasses import asdict

from atlas_ref.blocks.fast_memory import memory_rule
from atlas_ref.config import RunConfig
from atlas_ref.config.model import ModelConfig
from preflight.subject import Budget

PROBE_STEPS = 200
BATCHES = 12
LEAST_TOKENS, MOST_TOKENS = 128, 256
"""Recall beyond the attention window does not fit into fewer; more take longer and decide nothing more."""
LEAST_ROWS, MOST_ROWS = 2, 8
"""One row alone cannot be mistaken for another."""


def default_budget(config: RunConfig) -> Budget:
    """Return the budget of a config: sequences and batches of its own size, within what the gates need and bear.

    Newton-Schulz makes some hundred times the work for each token of each layer: such a memory gets the least of both.
    """
    model = config.any_model
    if isinstance(model, ModelConfig) and memory_rule(model.memory).orthogonalised:
        return Budget(PROBE_STEPS, BATCHES, sequence_length=LEAST_TOKENS, batch_size=LEAST_ROWS)
    least = LEAST_TOKENS if isinstance(model, ModelConfig) else 1
    length = max(least, min(config.data.sequence_length, MOST_TOKENS))
    return Budget(
        probe_steps=PROBE_STEPS,
        batches=BATCHES,
        sequence_length=length,
        batch_size=max(LEAST_ROWS, min(config.train.batch_size, MOST_ROWS)),
    )


def savings(budget: Budget, config: RunConfig) -> Iterator[str]:
    """Yield a phrase for each part of a budget that is smaller than what a run of this config asks for."""
    own = asdict(default_budget(config))
    for name, spent in asdict(budget).items():
        if spent < own[name]:
            yield f"{name} of its budget is {spent}, and {own[name]} is the least that admits a run"
