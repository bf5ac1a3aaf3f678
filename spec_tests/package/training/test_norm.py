"""The norm that gradients are clipped by is one number, however a step is made. Every test names the fault that it
caught."""

import math
from typing import Any

import torch
from torch import nn

from atlas_ref.training.clipping import sizes_of_gradients, total_norm
from atlas_ref.training.run import new_run
from atlas_ref.training.step import train_step, work
from spec_tests.package.micro.runs import micro_config
from spec_tests.package.training.test_graphed_step import CPU, batch_of

COUNT = 23


def parameters(seed: int) -> list[nn.Parameter]:
    """Return parameters of many sizes with a gradient each."""
    draw = torch.Generator().manual_seed(seed)
    found = [nn.Parameter(torch.zeros(3 + 5 * n)) for n in range(COUNT)]
    for each in found:
        each.grad = torch.randn(each.shape, generator=draw)
    return found


def test_a_gradient_of_zeros_counts_whether_it_was_made_or_not() -> None:
    """Kills: the norm of the gradients that there are, whose sum has fewer terms and rounds otherwise; a parameter that
    does not learn and is counted; a norm of something else."""
    parted = 0
    for seed in range(40):
        made, left = parameters(seed), parameters(seed)
        for n in (0, 5, 6, 14):
            made[n].grad, left[n].grad = torch.zeros_like(made[n]), None
        left.insert(9, nn.Parameter(torch.zeros(4), requires_grad=False))
        found = total_norm(made)
        assert torch.equal(total_norm(left), found)
        there = [x.grad for x in left if x.grad is not None]
        wanted = math.sqrt(sum(x.double().square().sum().item() for x in there))
        assert math.isclose(found.item(), wanted, rel_tol=1e-6)
        parted += not torch.equal(nn.utils.get_total_norm(there), found)
    # Where these never part, nothing was asked.
    assert parted


def test_a_step_that_is_made_as_it_is_is_clipped_by_the_norm_that_a_recorded_one_has() -> None:
    """Kills: gradients of zeros that are taken away before the norm of a step that is not recorded, and of no other."""
    config = micro_config("model.memory.omega_window=3", "model.n_layers=2")
    parted = 0
    for step in range(1, 9):
        one, other = new_run(config, CPU), new_run(config, CPU)
        third: list[Any] = [x for run in (one, other) for x in list(run.model.parameters())[::3]]
        for each in third:
            each.register_hook(torch.zeros_like)
        batch = batch_of(step)
        work(one.network, batch, one.state, step, config, None)
        sizes = sizes_of_gradients(one.model)
        result = train_step(other.network, other.optimiser, batch, other.state, step, config)
        assert result.grad_norm == sizes.norm.item()
        there = [
            x.grad for x, y in zip(one.model.parameters(), other.model.parameters(), strict=True) if y.grad is not None
        ]
        assert 0 < len(there) < len(sizes.held)
        parted += nn.utils.get_total_norm([x for x in there if x is not None]).item() != result.grad_norm
    # Where these never part, nothing was asked.
    assert parted
