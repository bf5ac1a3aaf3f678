"""What weight decay acts on: matrices and never what stands for a logarithm, in training and in its replay.

Every test names the fault that was put into the program by hand and that it caught.
"""

import pytest
import torch

from atlas_ref.config import load_config, model_names, preset_names
from atlas_ref.config.model import ModelConfig
from atlas_ref.models.atlas import AtlasModel
from atlas_ref.models.registry import build_model
from atlas_ref.training.optimiser import build_optimiser
from preflight.observe import measured_config, real_batches
from preflight.subject import Budget
from preflight.trajectory import drifts
from spec_tests.package.micro.runs import micro_config

WEIGHTS = {"weight", "convolution", "persistent", "0", "1", "2"}
"""Names of the parameters that weight decay may act on; a number is a matrix of M_0."""
SMALL = [
    "model.d_model=16",
    "model.n_layers=1",
    "model.n_heads=2",
    *(f"model.memory.{x}_dim=8" for x in ("key", "value")),
]

TANH = ("model.memory.qk_projection.kind='frobenius_tanh'", "model.memory.qk_projection.gain=5.0")


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_weight_decay_moves_every_matrix_and_no_gain_nor_vector(name: str) -> None:
    """Kills: decay on gains, which pulls each to 1; no decay at all; decay on vectors."""
    config = micro_config(*TANH, f"optim.name='{name}'", "optim.weight_decay=0.5", "model.gate.kind='convex'")
    model = AtlasModel(config.model, seed=1)
    with torch.no_grad():
        for parameter in model.parameters():
            # At least 1/2 everywhere, so that any decay shows.
            parameter.add_(parameter.sign() + 0.5)
    before = {key: parameter.detach().clone() for key, parameter in model.named_parameters()}
    optimiser = build_optimiser(model, config.optim)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step(1.0)

    gains = {key for key in before if key.endswith(".log_gain")}
    assert len(gains) == 2
    assert all(before[key].ndim == 2 for key in gains)
    for key, parameter in model.named_parameters():
        expected = key not in gains and parameter.ndim >= 2
        assert bool((parameter != before[key]).any()) == expected, key


@pytest.mark.parametrize("name", [*preset_names(), *model_names()])
def test_every_decayed_parameter_of_a_preset_is_a_weight_and_none_stands_for_a_logarithm(name: str) -> None:
    """Kills: decay on the regulariser of ridge, on a gain, or on a new parameter with axes that nobody looked at."""
    small = SMALL if isinstance(load_config(name).any_model, ModelConfig) else []
    decay = ["optim.name='adamw'", "optim.weight_decay=0.1", "optim.mugrokfast.perp_grad=false"]
    config = load_config(name, [*small, *decay])
    model = build_model(config.any_model, seed=1)
    optimiser = build_optimiser(model, config.optim)
    names = {parameter: key for key, parameter in model.named_parameters()}
    groups = optimiser.parts["adamw"].param_groups
    decayed = {names[p] for group in groups if group["weight_decay"] for p in group["params"]}
    assert {key.rpartition(".")[2] for key in decayed} <= WEIGHTS
    assert {key for key in names.values() if key.endswith(".weight") and "norm" not in key} <= decayed


def test_the_replay_decays_what_the_training_decays() -> None:
    """Kills: a replay that lost the names of its parameters and so decays gains, or one with a decay of its own.

    With gradients that are all but zero the decay is what moves a parameter; a twin that it moves alone drifts.
    """
    budget = Budget(probe_steps=4, batches=2, sequence_length=32, batch_size=2)
    config = micro_config(*TANH, "optim.weight_decay=10.0", "optim.eps=0.01", "optim.learning_rate=0.01")
    config = measured_config(config, 0, budget)
    model = AtlasModel(config.model, seed=1)
    batches = real_batches(config, 2, torch.device("cpu"))
    found = drifts(config, model, build_optimiser(model, config.optim), batches, 4)
    gains = {key: drift for key, drift in found.items() if key.endswith("log_gain")}
    assert len(gains) == 2
    assert all(drift < 1e-3 for drift in found.values()), found
