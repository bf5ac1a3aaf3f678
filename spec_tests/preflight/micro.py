"""A configuration small enough for every control to go through its gate in seconds."""

from atlas_ref.config import RunConfig, load_config
from preflight.subject import Budget

MICRO = (
    "model.d_model=32",
    "model.n_layers=1",
    "model.n_heads=2",
    "model.feed_forward='none'",
    "model.attention.window=4",
    "model.attention.persistent_tokens=1",
    "model.memory.chunk=8",
    "model.memory.key_dim=16",
    "model.memory.value_dim=16",
    "model.memory.gates.step_init=0.5",
    "model.memory.gates.fast_heads=0",
    "data.sequence_length=64",
    "optim.learning_rate=0.01",
    "train.batch_size=4",
    "train.device='cpu'",
)
"""Overrides of the preset `tiny`: one layer, short chunks, and writes that are strong enough to learn in seconds."""

BUDGET = Budget(probe_steps=60, batches=6, sequence_length=64, batch_size=8)


def micro_config(*overrides: str) -> RunConfig:
    """Return the small configuration with further overrides."""
    return load_config("tiny", [*MICRO, *overrides])


ROWS = (
    "model.vocab_size=136",
    "data.source='recall'",
    "data.recall.pairs=3",
    "data.recall.queries=3",
    "data.recall.gap=20",
)
SHORT = ("train.max_steps=16", "optim.warmup_steps=2")
REHEARSAL = Budget(probe_steps=8, batches=4, sequence_length=64, batch_size=2)
"""What rehearses the run of these rows in eight steps."""


def recall_config(*overrides: str) -> RunConfig:
    """Return the small configuration of a run whose answers lie out of sight, with further overrides."""
    return micro_config(*ROWS, *overrides)


def short_run(*overrides: str) -> RunConfig:
    """Return that of a run of 16 steps, with further overrides."""
    return recall_config(*SHORT, *overrides)
