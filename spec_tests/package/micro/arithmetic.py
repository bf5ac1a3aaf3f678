"""Networks of the families `perceptron` and `transformer` small enough to train within a test, on addition mod 7."""

from atlas_ref.config import RunConfig, load_config
from atlas_ref.config.perceptron import PerceptronConfig
from atlas_ref.models.perceptron import PerceptronModel

SMALL = (
    "data.arithmetic.modulus=7",
    "data.arithmetic.share=0.6",
    "optim.learning_rate=0.01",
    "train.max_steps=12",
    "train.batch_size=29",
    "train.log_interval=4",
    "train.eval_interval=2",
    "train.save_interval=6",
)
"""29 of 49 pairs are trained on, all at once."""
MICRO = (*SMALL, "model.vocab_size=7", "model.d_model=8", "model.hidden=[12]")
"""What makes `grok-square` small."""
ONE_HOT = ("model.d_model=0", "model.hidden=[6, 5]", "model.activation='relu'")
"""What makes a small `grok-mlp` of it."""
STREAM = (
    *SMALL,
    "model.vocab_size=8",
    "model.d_model=8",
    "model.n_heads=2",
    "model.feed_forward_dim=12",
    "train.device='cpu'",
    "kill_switches.divergence_margin=5.0",
)
"""What makes `grok-transformer` small; weights so narrow cost much at the start."""


def arithmetic_config(*overrides: str) -> RunConfig:
    """Return the small perceptron with further overrides."""
    return load_config("grok-square", [*MICRO, *overrides])


def transformer_config(*overrides: str) -> RunConfig:
    """Return the small transformer with further overrides."""
    return load_config("grok-transformer", [*STREAM, *overrides])


def make_model(*overrides: str, seed: int = 3) -> PerceptronModel:
    """Return the small perceptron in float64."""
    settings = arithmetic_config(*overrides).any_model
    assert isinstance(settings, PerceptronConfig)
    return PerceptronModel(settings, seed).double()
