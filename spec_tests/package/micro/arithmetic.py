"""A network of the family `quadratic` small enough to train within a test, on addition mod 7."""

from atlas_ref.config import RunConfig, load_config
from atlas_ref.config.quadratic import QuadraticConfig
from atlas_ref.models.quadratic import QuadraticModel

MICRO = (
    "model.vocab_size=7",
    "model.d_model=8",
    "model.hidden=12",
    "data.arithmetic.modulus=7",
    "data.arithmetic.share=0.6",
    "optim.learning_rate=0.01",
    "train.max_steps=12",
    "train.batch_size=29",
    "train.log_interval=4",
    "train.eval_interval=2",
    "train.save_interval=6",
)
"""What makes `grok-square` small: 29 of 49 pairs are trained on, all at once."""


def arithmetic_config(*overrides: str) -> RunConfig:
    """Return the small configuration with further overrides."""
    return load_config("grok-square", [*MICRO, *overrides])


def make_model(*overrides: str, seed: int = 3) -> QuadraticModel:
    """Return the small model in float64."""
    settings = arithmetic_config(*overrides).any_model
    assert isinstance(settings, QuadraticConfig)
    return QuadraticModel(settings, seed).double()
