"""Models of the family `cognate` small enough to train within a test, with weights at random places."""

from itertools import pairwise

import torch
from torch import Tensor

from atlas_ref.config import RunConfig, load_config
from atlas_ref.config.cognate import CognateConfig
from atlas_ref.models.cognate import CognateModel, CognateOutput, CognateState

VOCABULARY, TIME = 4, 21
MICRO = (
    "model.vocab_size=257",
    "model.d_model=12",
    "model.n_layers=2",
    "model.n_heads=3",
    "model.feed_forward_dim=20",
    "model.window=5",
    "model.positions=64",
    "model.ltm.width=7",
    "model.ltm.gate_hidden=9",
    "model.ltm.slots=3",
    "model.ltm.surprise=0.4",
    "model.recursion.heads=2",
    "model.recursion.hidden=14",
    "data.tokenizer='bytes'",
    "data.sequence_length=32",
    "data.context_batches=2",
    "optim.name='adamw'",
    "optim.warmup_steps=2",
    "optim.learning_rate=0.01",
    "optim.min_learning_rate=0.001",
    "train.precision='fp32'",
    "train.max_steps=6",
    "train.batch_size=2",
    "train.micro_batches=1",
    "train.device='cpu'",
    "train.threads=1",
    "train.log_interval=2",
    "train.eval_interval=3",
    "train.eval_batches=2",
    "train.save_interval=3",
)
"""What turns `cognate-27m` into a small run on text."""
RELAY = ("data.source='relay'", "data.relay.symbols=3", "model.vocab_size=4")
"""Overrides that turn it to relay."""
VARIANTS: dict[str, tuple[str, ...]] = {
    "separate": ("model.recursion.recursions=2",),
    "separate whole history": ("model.recursion.detach=false", "model.ltm.kind='both'"),
    "shared": (
        "model.recursion.nets='shared'",
        "model.recursion.supervision='equal'",
        "model.recursion.iterations=4",
        "model.ltm.kind='slots'",
    ),
    "no backbone": ("model.n_layers=0", "model.ltm.kind='none'", "model.halting.kind='none'"),
}
"""Small models that together have every branch."""


def cognate_config(*overrides: str) -> RunConfig:
    """Return the small configuration with further overrides."""
    return load_config("cognate-27m", [*MICRO, *overrides])


def make_model(variant: str, *overrides: str) -> CognateModel:
    """Return a float64 model whose every parameter is away from its start, so that every part acts."""
    settings = cognate_config(*RELAY, *VARIANTS[variant], *overrides).any_model
    assert isinstance(settings, CognateConfig)
    model = CognateModel(settings, seed=3).double()
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def make_tokens(batch: int, seed: int, time: int = TIME) -> Tensor:
    """Return random tokens [batch, time]."""
    return torch.randint(VOCABULARY, (batch, time), generator=torch.Generator().manual_seed(seed))


def call(model: CognateModel, tokens: Tensor, state: CognateState, reset: Tensor | None = None) -> CognateOutput:
    """Run the model; typed, which a module is not."""
    output: CognateOutput = model(tokens, state, reset)
    return output


def call_in_parts(
    model: CognateModel, tokens: Tensor, borders: list[int], state: CognateState, reset: Tensor | None = None
) -> tuple[Tensor, CognateState]:
    """Run the model in one call for each stretch between `borders` and return all logits and the last state."""
    logits = []
    for start, stop in pairwise([0, *borders, tokens.shape[1]]):
        part = slice(start, stop)
        output = call(model, tokens[:, part], state, None if reset is None else reset[:, part])
        logits.append(output.logits)
        state = output.state
    return torch.cat(logits, 1), state
