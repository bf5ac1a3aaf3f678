"""The optimisers of a run are those of torch, without torch's compiler."""

import sys

import pytest
import torch
from torch import nn

from atlas_ref.config import load_config
from atlas_ref.training.optimiser import optimiser_of

COMPILER = "torch._dynamo"


def test_an_optimiser_steps_without_the_compiler_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: torch's own `step` or `add_param_group`, which import what takes as long as torch itself."""
    # An import of a module that is None is an error.
    monkeypatch.setitem(sys.modules, COMPILER, None)
    matrix, vector = nn.Parameter(torch.eye(3)), nn.Parameter(torch.ones(3))
    optimiser = optimiser_of(
        {"matrix": matrix, "vector": vector}, {"matrix"}, load_config("tiny", ["optim.name=muon"]).optim
    )
    for parameter in (matrix, vector):
        parameter.grad = torch.ones_like(parameter)
    optimiser.step(1.0)
    optimiser.zero_grad()
    assert matrix.grad is None
    assert vector.grad is None
