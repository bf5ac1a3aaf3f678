"""The gates of the memory by kind: what is learned of a token starts where it is told to, what is fixed is a formula.

Every test names the fault that was put into the program by hand and that it caught.
"""

import math

import pytest
import torch
from torch import Tensor

from atlas_ref.blocks.gates import GateHeads
from atlas_ref.config import load_config
from atlas_ref.memory.rules import Gates

WIDTH, HEADS, FEATURES, TIME = 6, 3, 5, 7


def heads(name: str, *changes: str) -> GateHeads:
    config = load_config(name, [f"model.memory.{change}" for change in changes]).model.memory
    module = GateHeads(WIDTH, HEADS, FEATURES, config)
    module.initialise(torch.Generator().manual_seed(1), 0.5)
    return module


def hidden() -> Tensor:
    return torch.randn(2, TIME, WIDTH, generator=torch.Generator().manual_seed(2))


def moved(module: GateHeads) -> GateHeads:
    """Move every parameter away from its start, so that gates depend on tokens."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module


def gates_of(module: GateHeads, x: Tensor | None = None) -> Gates:
    found: Gates = module(hidden() if x is None else x)
    return found


def test_constant_gates_are_the_same_for_every_token_and_have_no_parameters() -> None:
    """Kills: a one that is a sigmoid; a zero momentum that starts at a half; a projection that makes what is fixed."""
    module = heads("linear-attention")
    assert list(module.parameters()) == []
    gates = gates_of(module)
    ones = torch.ones(2, TIME, HEADS)
    assert torch.equal(gates.retention, ones)
    assert torch.equal(gates.step, ones)
    assert torch.equal(gates.momentum, 0.0 * ones)
    assert torch.equal(gates.window, ones.unsqueeze(-1))
    assert gates.threshold is None


def test_retnet_forgets_at_a_rate_that_halves_from_head_to_head() -> None:
    """Kills: heads counted from one; a base of e; one rate for all heads."""
    expected = torch.tensor([1 - 1 / 32, 1 - 1 / 64, 1 - 1 / 128]).expand(2, TIME, HEADS)
    assert torch.equal(gates_of(heads("retnet")).retention, expected)


def test_mamba2_forgets_by_its_own_step_at_a_learned_rate() -> None:
    """Kills: a retention that starts elsewhere; a rate that is not exponentiated; a step before its bound."""
    start = gates_of(heads("mamba2", "gates.retention_init=0.95", "gates.step_init=0.2"))
    torch.testing.assert_close(start.retention, torch.full((2, TIME, HEADS), 0.95), rtol=1e-5, atol=0.0)
    module = moved(heads("mamba2", "gates.step_max=3.0"))
    gates = gates_of(module)
    expected = torch.exp(-module.log_rate.exp() * gates.step)
    assert torch.equal(gates.retention, expected)
    assert gates.retention.std(1).min() > 1e-4


@pytest.mark.parametrize(("name", "axis", "width"), [("gla", "columns", FEATURES), ("kda", "rows", 32)])
def test_a_row_or_column_has_a_gate_of_its_own_from_few_numbers_of_the_token(name: str, axis: str, width: int) -> None:
    """Kills: rows for columns; one gate repeated; a map of full rank; gates that start far from where they are told."""
    module = heads(name, f"gate_axis='{axis}'", "gates.retention_init=0.99", "gates.fast_heads=1")
    assert module.retention_up.weight.shape == (HEADS * width, 32)
    start = gates_of(module).retention
    assert start.shape == (2, TIME, HEADS, width)
    assert (torch.logit(start).mean((0, 1, 3)) - torch.logit(torch.tensor([0.99, 0.99, 0.9]))).abs().max() < 0.2
    gates = gates_of(moved(module)).retention
    assert gates.std(-1).min() > 1e-3
    assert gates.std(1).min() > 1e-3


def test_a_threshold_starts_where_it_is_told_stays_positive_and_follows_the_token() -> None:
    """Kills: a sigmoid, which no threshold above one comes from; the rows of another gate."""
    for start in (0.3, 7.0, 300.0):
        gates = gates_of(heads("yaad", f"bias.threshold_init={start}"))
        assert gates.threshold is not None
        torch.testing.assert_close(gates.threshold, torch.full((2, TIME, HEADS), start), rtol=1e-5, atol=0.0)
        torch.testing.assert_close(gates.step, torch.full((2, TIME, HEADS), 0.5), rtol=1e-5, atol=0.0)
    module = moved(heads("yaad"))
    threshold = gates_of(module, 30.0 * hidden()).threshold
    assert threshold is not None
    assert threshold.min() >= 0.0
    rows = module.projection(30.0 * hidden())[..., -HEADS:]
    assert torch.allclose(threshold, torch.nn.functional.softplus(rows))
    assert threshold.max() > 2.0


def test_learned_gates_stand_in_the_projection_in_their_order() -> None:
    """Every gate at once. Kills: retention and step exchanged; ages of the window that are read as heads."""
    module = moved(heads("tiny", "bias.kind='robust'", "omega_window=2", "gates.momentum_max=0.8"))
    raw = module.projection(hidden()).unflatten(-1, (-1, HEADS))
    gates, share = gates_of(module), torch.sigmoid(raw)
    assert raw.shape[-2] == 3 + 2 + 1
    assert torch.allclose(gates.retention, share[..., 0, :])
    assert torch.allclose(gates.momentum, share[..., 1, :] * 0.8)
    assert torch.allclose(gates.step, share[..., 2, :])
    assert torch.allclose(gates.window[..., 1], share[..., 4, :])
    assert gates.threshold is not None
    assert torch.allclose(gates.threshold, torch.log1p(raw[..., 5, :].exp()))
    assert math.prod(gates.window.shape) == 2 * TIME * HEADS * 2
