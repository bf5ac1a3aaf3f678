"""Every published model trains, goes on from a checkpoint, generates and can be examined as the first family does.

Every test names the fault that was put into the program by hand and that it caught.
"""

import math
from pathlib import Path

import pytest
import torch

from atlas_ref.config import RunConfig, load_config, model_names
from atlas_ref.generation.generate import generate, read_prompt
from atlas_ref.generation.sampling import Sampling, stream
from atlas_ref.models.atlas import AtlasModel
from atlas_ref.models.tensors import count_parameters, tensors
from preflight.budget import default_budget
from preflight.gates import GATES
from preflight.result import Verdict
from preflight.subject import HEALTHY, Budget
from spec_tests.package.micro.models import call, call_in_parts, largest_difference, make_tokens
from spec_tests.package.micro.runs import MICRO, go_on, metric_lines, saved_bytes, start, stop_before, without_timing
from spec_tests.sampling import marks_of

QUICK = ("gated-deltanet", "mesa", "gla", "memora")
"""Models that stand for the others in a quick run: an exact delta rule, two moments, gates of columns, a link."""
EXAMINED = ("mesa", "gla")
"""Of these, two that preflight examines in a quick run: the one without M, and the one with gates of another shape."""
TIME = 13
TOLERANCE = 1e-11
every_model = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=marks_of(name in QUICK)) for name in model_names()]
)


def micro_model(name: str, *overrides: str) -> RunConfig:
    """Return the small configuration with the memory of a published model, its chunk and window included."""
    changes = [change for change in MICRO if not change.startswith("model.memory.chunk")]
    return load_config(name, [*changes, "model.memory.key_dim=4", "model.memory.value_dim=16", *overrides])


def moved(name: str, *overrides: str) -> AtlasModel:
    """Return a float64 model whose every parameter is away from its start."""
    model = AtlasModel(micro_model(name, "model.init_std=0.3", *overrides).model, seed=3).double()
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


@every_model
def test_a_model_trains_and_goes_on_from_a_checkpoint_bit_for_bit(name: str, tmp_path: Path) -> None:
    """Kills: a part of the state that a checkpoint leaves out; a parameter that no checkpoint restores."""
    config = micro_model(name, "train.max_steps=4", "train.save_interval=2", "train.eval_interval=4")
    start(config, tmp_path / "whole")
    assert start(config, tmp_path / "cut", stop_before(3)).step == 2
    assert go_on(config, tmp_path / "cut").step == 4
    assert saved_bytes(tmp_path / "cut") == saved_bytes(tmp_path / "whole")
    lines = [without_timing(metric_lines(tmp_path / run)) for run in ("whole", "cut")]
    assert lines[0][-1] == lines[1][-1]
    assert all(math.isfinite(line["train/loss"]) for line in lines[0])


@every_model
def test_generation_token_by_token_gives_the_logits_of_one_call(name: str) -> None:
    """Kills: another form of the memory for a call of one token, with another result; a state that is not handed on."""
    model = moved(name)
    made = list(generate(read_prompt(model, [70, 105, 114]), TIME, Sampling(), stream(3)))
    tokens = torch.tensor([[70, 105, 114, *(step.token for step in made)]])
    with torch.no_grad():
        whole = call(model, tokens, model.initial_state(1)).logits[0, 2:-1]
    torch.testing.assert_close(torch.stack([step.logits for step in made]), whole, rtol=TOLERANCE, atol=TOLERANCE)


@every_model
def test_a_reset_is_a_fresh_start_and_a_split_changes_nothing(name: str) -> None:
    """Rows out of step. Kills: a moment, dual or momentum that outlives its document; a phase that counts calls."""
    model = moved(name)
    tokens = make_tokens(2, seed=5, time=TIME)
    reset = torch.zeros(2, TIME, dtype=torch.bool)
    reset[0, 6] = True
    with torch.no_grad():
        output = call(model, tokens, model.initial_state(2), reset)
        fresh = call(model, tokens[:1, 6:], model.initial_state(1))
        logits, state = call_in_parts(model, tokens, [1, 2, 5, 9], model.initial_state(2), reset)
    torch.testing.assert_close(output.logits[:1, 6:], fresh.logits, rtol=0.0, atol=TOLERANCE)
    torch.testing.assert_close(logits, output.logits, rtol=0.0, atol=TOLERANCE)
    assert largest_difference(state, output.state) <= TOLERANCE


@every_model
def test_every_parameter_is_listed_and_learns_and_none_without_writes_but_what_is_read(name: str) -> None:
    """Kills: a gate that is made and not used; a regulariser that no gradient reaches; a tensor that the table lacks;
    an ablation that still writes."""
    model = moved(name)
    listed = {info.name: info.shape for info in tensors(model.config)}
    assert listed == {key: tuple(parameter.shape) for key, parameter in model.named_parameters()}
    assert count_parameters(model.config) == sum(parameter.numel() for parameter in model.parameters())
    torch.autograd.backward(call(model, make_tokens(2, seed=1), model.initial_state(2)).logits.square().mean())
    still = {key for key, p in model.named_parameters() if p.numel() and (p.grad is None or p.grad.abs().max() < 1e-12)}
    assert still == set()

    ablation = moved(name, "model.disable_memory=true")
    with torch.no_grad():
        after = call(ablation, make_tokens(2, seed=1), ablation.initial_state(2)).state
    written = ".memory.memory.weights."
    before = ablation.initial_state(2).to_tensors()
    assert all(torch.equal(t, before[key]) for key, t in after.to_tensors().items() if written in key)


@every_model
def test_the_ablation_reads_what_a_memory_reads_before_it_is_written(name: str) -> None:
    """Kills: an ablation that reads the dual of a link; a warm-up in which something is forgotten."""
    unwritten, ablation = moved(name, "model.memory.ttl_warmup_steps=1"), moved(name, "model.disable_memory=true")
    # One of the models writes at every sixteenth token.
    tokens = make_tokens(2, seed=4, time=20)
    with torch.no_grad():
        before = unwritten(tokens, unwritten.initial_state(2), None, 0).logits
        never = call(ablation, tokens, ablation.initial_state(2)).logits
        after = call(unwritten, tokens, unwritten.initial_state(2)).logits
    torch.testing.assert_close(before, never, rtol=0.0, atol=TOLERANCE)
    assert (before - after).abs().max() > 1e-3


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks_of(name in EXAMINED)) for name in model_names()])
def test_every_gate_of_preflight_gives_a_verdict(name: str) -> None:
    """Kills: a gate that knows one form of memory only; a half-life of infinity, which is no number."""
    config = micro_model(name, "data.sequence_length=128")
    budget = default_budget(config)
    small = Budget(probe_steps=2, batches=2, sequence_length=budget.sequence_length, batch_size=2)
    for gate in GATES.values():
        result = gate(config, HEALTHY, 0, small)
        assert result.verdict in Verdict
        assert all(math.isfinite(check.statistic) for check in result.checks), result
