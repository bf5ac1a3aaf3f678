"""How much the gates spend unless the command line says otherwise: what decides on `tiny` within a minute."""

from atlas_ref.config import RunConfig
from preflight.subject import Budget

PROBE_STEPS = 200
BATCHES = 12
MOST_TOKENS = 256
MOST_ROWS = 8


def default_budget(config: RunConfig) -> Budget:
    """Return the budget of a config: sequences and batches of its own size, up to a size that takes a minute."""
    return Budget(
        probe_steps=PROBE_STEPS,
        batches=BATCHES,
        sequence_length=min(config.data.sequence_length, MOST_TOKENS),
        batch_size=min(config.train.batch_size, MOST_ROWS),
    )
