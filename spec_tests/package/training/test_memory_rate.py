"""What learns at which rate, and which weights are averaged: `optim.memory_rate` and `optim.average`.

Every test names the fault that was put into the program by hand and that it caught.
"""

import pytest
import torch
from torch import Tensor

from atlas_ref.config import RunConfig
from atlas_ref.data.streams import open_source
from atlas_ref.errors import UserError
from atlas_ref.training.run import Run, new_run
from atlas_ref.training.step import train_step
from spec_tests.package.micro.cognate import cognate_config
from spec_tests.package.micro.runs import micro_config


def trained(config: RunConfig, steps: int = 1) -> tuple[Run, dict[str, Tensor]]:
    """Return a run after some steps, and its weights before them."""
    run, source = new_run(config, torch.device("cpu")), open_source(config)
    begun = {name: parameter.detach().clone() for name, parameter in run.model.named_parameters()}
    for step in range(steps):
        result = train_step(run.network, run.optimiser, source.batch(step), run.state, step, config)
        run.state = result.output.state
    return run, begun


@pytest.mark.parametrize("name", ["adamw", "muon", "mugrokfast"])
def test_memories_move_so_many_times_as_far_and_nothing_else_does(name: str) -> None:
    """Kills: a rate that the schedule overwrites; gates or starts left out; norms of the block, which are no memory's,
    taken in; a group without its decay."""
    settings = (f"optim.name='{name}'", "optim.weight_decay=0.0")
    (one, begun), (half, _) = (trained(micro_config(*settings, f"optim.memory_rate={rate}")) for rate in (1.0, 0.5))
    slower = dict(half.model.named_parameters())
    moved = 0
    for parameter_name, parameter in one.model.named_parameters():
        step = parameter - begun[parameter_name]
        share = 0.5 if ".memory." in parameter_name else 1.0
        torch.testing.assert_close(slower[parameter_name] - begun[parameter_name], share * step, rtol=1e-3, atol=1e-7)
        moved += ".memory." in parameter_name and bool(step.any())
    assert moved > 6


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_every_optimiser_can_keep_an_average(name: str) -> None:
    """Kills: an average that the filter of gradients alone brings; one of the weights before the step."""
    run, begun = trained(micro_config(f"optim.name='{name}'", "optim.average=0.75"))
    after = {key: parameter.detach().clone() for key, parameter in run.model.named_parameters()}
    with run.optimiser.averaged():
        for key, parameter in run.model.named_parameters():
            torch.testing.assert_close(parameter.detach(), 0.75 * begun[key] + 0.25 * after[key])


def test_a_family_without_test_time_memory_has_no_rate_for_it() -> None:
    """Kills: a field that is taken and does nothing."""
    with pytest.raises(UserError, match=r"optim.memory_rate is 0.5; it must be 1.0 for model.family"):
        cognate_config("optim.memory_rate=0.5")
