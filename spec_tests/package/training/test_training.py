"""Training: what a step computes, that it learns, that it is a function of its config, and what it writes down.

Every test names the fault that was put into the program by hand and that it caught.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from atlas_ref.data.batch import IGNORED
from atlas_ref.data.streams import open_source
from atlas_ref.models.atlas import AtlasModel
from atlas_ref.storage.checkpoint import find_checkpoint, saved_steps
from atlas_ref.storage.metrics_log import SOMETIMES, TIMING
from atlas_ref.storage.run_directory import RunDirectory
from atlas_ref.tasks.language import token_losses
from atlas_ref.training.clipping import NonFiniteError
from atlas_ref.training.optimiser import build_optimiser
from atlas_ref.training.run import new_run
from atlas_ref.training.schedule import learning_rate
from atlas_ref.training.step import train_step
from spec_tests.package.micro.models import as_atlas
from spec_tests.package.micro.runs import (
    metric_lines,
    micro_config,
    saved_bytes,
    start,
    stop_before,
    without_timing,
)

CPU = torch.device("cpu")


def test_the_loss_is_the_mean_over_counted_targets_only() -> None:
    """Kills: dividing by all targets; the sum over ignored ones; bf16 logits not widened before the softmax."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 3, 5, generator=generator, dtype=torch.float64)
    targets = torch.tensor([[1, IGNORED, 4], [0, 2, IGNORED]])
    expected = 0.0
    for row, time in ((0, 0), (0, 2), (1, 0), (1, 1)):
        values = [math.exp(value) for value in logits[row, time].tolist()]
        expected -= math.log(values[int(targets[row, time])] / sum(values))

    total, count = token_losses(logits, targets)
    assert int(count) == 4
    assert total.dtype == torch.float64
    assert float(total) == pytest.approx(expected, rel=1e-12)
    narrow, _ = token_losses(logits.bfloat16(), targets)
    assert narrow.dtype == torch.float32


def test_a_step_is_clipped_adamw_on_the_gradient_of_the_mean_loss() -> None:
    """Kills: no clipping; weight decay on vectors; the schedule's factor left out; a step of the wrong sign."""
    config = micro_config("optim.max_norm=0.05", "optim.weight_decay=0.3", "optim.eps=1e-4")
    batch = open_source(config).batch(0)
    run = new_run(config, CPU)
    twin = AtlasModel(config.model, config.train.seed)
    output = twin(batch.tokens, twin.initial_state(2), batch.reset)
    logarithms = output.logits.log_softmax(-1)
    counted = batch.targets != IGNORED
    torch.autograd.backward(-logarithms[counted].gather(1, batch.targets[counted].unsqueeze(1)).mean())
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in twin.parameters() if p.grad is not None))
    assert norm > config.optim.max_norm

    result = train_step(run.model, run.optimiser, batch, run.state, 0, config)
    assert result.grad_norm == pytest.approx(norm, rel=1e-5)
    rate = learning_rate(0, config)
    for before, after in zip(twin.parameters(), run.model.parameters(), strict=True):
        gradient = before.grad
        assert gradient is not None
        clipped = gradient * config.optim.max_norm / norm
        # The first step of AdamW: both moments are the gradient's own, so the quotient is g / (|g| + eps).
        expected = before - rate * clipped / (clipped.abs() + config.optim.eps)
        if before.ndim >= 2:
            expected = expected - rate * config.optim.weight_decay * before
        torch.testing.assert_close(after, expected, rtol=2e-4, atol=1e-7)


def test_muon_gets_every_hidden_matrix_and_adamw_all_the_rest() -> None:
    """Kills: embeddings, gate heads or convolutions in Muon; a parameter in no optimiser or in two."""
    config = micro_config("optim.name='muon'", "model.gate.kind='convex'")
    model = AtlasModel(config.model, seed=0)
    optimiser = build_optimiser(model, config.optim)
    muon, adamw = set(optimiser.names["muon"]), set(optimiser.names["adamw"])

    assert muon | adamw == {name for name, _ in model.named_parameters()}
    assert not muon & adamw
    held = [id(p) for part in optimiser.parts.values() for group in part.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters())
    ends = ("attention.projection.weight", "memory.projection.weight", "output.weight", "up.weight")
    assert muon == {name for name, _ in model.named_parameters() if name.endswith(ends)}
    decayed = {
        id(p)
        for part in optimiser.parts.values()
        for group in part.param_groups
        if group["weight_decay"] > 0
        for p in group["params"]
    }
    assert decayed == {id(p) for p in model.parameters() if p.ndim >= 2}


def test_a_muon_step_is_orthogonal_and_follows_the_schedule() -> None:
    """Kills: Muon's rate not scheduled; AdamW on hidden matrices under the name muon."""
    config = micro_config("optim.name='muon'", "optim.weight_decay=0.0", "optim.muon_learning_rate=0.05")
    run = new_run(config, CPU)
    before = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    train_step(run.model, run.optimiser, open_source(config).batch(0), run.state, 0, config)
    rate = 0.05 * learning_rate(0, config) / config.optim.learning_rate

    for name, parameter in run.optimiser.names["muon"].items():
        rows, columns = parameter.shape
        change = (parameter.detach() - before[name]) / (rate * math.sqrt(max(1.0, rows / columns)))
        values = torch.linalg.svdvals(change)
        # Torch's five quintic iterations, in bfloat16, end between 0.68 and 1.14 or so.
        assert float(values[0]) == pytest.approx(0.95, abs=0.3), name


def test_the_loss_goes_down_on_the_shipped_text(tmp_path: Path) -> None:
    """Kills: an optimiser that is not stepped; targets that are not shifted, whose loss falls to zero."""
    config = micro_config("train.max_steps=60", "optim.learning_rate=0.01", "train.save_interval=60")
    outcome = start(config, tmp_path / "run")
    first, last, validation = (outcome.summary[key] for key in ("first_train_loss", "last_train_loss", "val_loss"))

    assert isinstance(first, float)
    assert isinstance(last, float)
    assert isinstance(validation, float)
    assert first == pytest.approx(math.log(257), abs=0.2)
    assert 1.5 < last < first - 1.5
    assert 1.5 < validation < first - 1.5


def test_the_same_seed_gives_the_same_run_and_another_seed_another(tmp_path: Path) -> None:
    """Kills: weights drawn from the global generator; a seed that the data, or the weights, do not read."""
    for name, seed, noise in (("a", 1, 0), ("b", 1, 99), ("c", 2, 0)):
        torch.manual_seed(noise)
        start(micro_config(f"train.seed={seed}"), tmp_path / name)
    a, b, c = (saved_bytes(tmp_path / name) for name in "abc")
    lines = {name: without_timing(metric_lines(tmp_path / name)) for name in "abc"}

    assert a == b
    assert lines["a"] == lines["b"]
    assert all(a[name] != c[name] for name in a)
    assert lines["a"][0]["train/loss"] != lines["c"][0]["train/loss"]
    runs = (new_run(micro_config(f"train.seed={seed}"), CPU) for seed in (1, 2))
    first, second = (as_atlas(run.model).embedding.weight for run in runs)
    assert not torch.equal(first, second)


def test_the_state_is_carried_from_step_to_step_without_its_history() -> None:
    """Kills: a fresh state at every step; a state that keeps the graph of all steps before it."""
    config = micro_config()
    source = open_source(config)
    run = new_run(config, CPU)
    first = train_step(run.model, run.optimiser, source.batch(0), run.state, 0, config)
    tensors = first.output.state.to_tensors()
    assert not any(tensor.requires_grad for tensor in tensors.values())

    carried = run.model(source.batch(1).tokens, first.output.state, source.batch(1).reset).logits
    fresh = run.model(source.batch(1).tokens, run.model.initial_state(2), source.batch(1).reset).logits
    second = train_step(run.model, run.optimiser, source.batch(1), first.output.state, 1, config)
    torch.testing.assert_close(second.output.logits, carried, rtol=0, atol=0)
    assert not torch.allclose(carried, fresh)


def test_the_loop_makes_the_steps_in_order_each_from_the_state_of_the_one_before(tmp_path: Path) -> None:
    """Kills: a loop that drops the new state; that skips or repeats a batch; that counts the schedule from one."""
    config = micro_config()
    source, run = open_source(config), new_run(config, CPU)
    results = []
    for step in range(3):
        results.append(train_step(run.model, run.optimiser, source.batch(step), run.state, step, config))
        run.state = results[-1].output.state
    start(config, tmp_path / "run", stop_before(4))
    saved = find_checkpoint(tmp_path / "run")

    for name, tensors in run.tensors().items():
        found = saved.tensors(name)
        assert set(found) == set(tensors)
        assert all(torch.equal(found[key], tensor.detach()) for key, tensor in tensors.items())
    (line,) = (line for line in metric_lines(tmp_path / "run") if line["step"] == 2)
    assert (line["train/loss"], line["train/lr"]) == (results[1].loss, results[1].learning_rate)


def test_every_line_of_the_log_has_its_step_first_and_flat_numeric_keys(tmp_path: Path) -> None:
    """Kills: a missing first or last line; nested telemetry; a memory without telemetry; timing under another key."""
    # Seven is a multiple of no interval: the last step is logged, validated and saved all the same.
    start(micro_config("train.max_steps=7"), tmp_path / "run")
    lines = metric_lines(tmp_path / "run")

    assert [line["step"] for line in lines] == [1, 2, 3, 4, 6, 7]
    assert list(saved_steps(tmp_path / "run" / "checkpoints")) == [3, 6, 7]
    for line in lines:
        assert next(iter(line)) == "step"
        assert all(isinstance(value, int | float) for value in line.values())
    train = {"train/loss", "train/grad_norm", "train/lr", *TIMING} - {*SOMETIMES}
    for line in lines:
        assert (train <= set(line)) == (line["step"] != 3)
        assert ("val/loss" in line) == (line["step"] in (3, 6, 7))
    layers = {key.split("/")[1] for key in lines[0] if key.startswith("memory/") and key.count("/") == 2}
    assert layers == {"layer_0", "layer_1"}
    assert 0.9 < lines[0]["memory/layer_0/retention"] < 1.0
    assert {f"memory/{name}" for name in ("omega_loss", "momentum_norm", "update_magnitude")} <= set(lines[0])


def test_a_run_directory_tells_what_ran_and_how_it_ended(tmp_path: Path) -> None:
    """Kills: a summary whose losses are not the first and last of the log; a config that cannot be run again."""
    path = tmp_path / "run"
    start(micro_config(), path)
    lines, summary = metric_lines(path), json.loads((path / "summary.json").read_text())

    assert summary["steps"] == 6
    assert summary["first_train_loss"] == lines[0]["train/loss"]
    assert summary["last_train_loss"] == lines[-1]["train/loss"]
    assert summary["val_loss"] == lines[-1]["val/loss"]
    assert summary["parameters"] == sum(p.numel() for p in AtlasModel(micro_config().model, 0).parameters())
    assert summary["peak_rss_mib"] > 50
    assert summary["seconds"] > 0
    (environment,) = json.loads((path / "env.json").read_text())
    assert environment["torch"] == torch.__version__
    assert environment["first_step"] == 1
    assert RunDirectory(path).unknown_files() == []


def test_a_loss_that_is_not_finite_stops_the_run_before_anything_changes() -> None:
    """Kills: a step taken on a NaN loss; a NaN gradient clipped to NaN; an error without step or tensor."""
    config = micro_config()
    batch = open_source(config).batch(0)
    run = new_run(config, CPU)
    with torch.no_grad():
        as_atlas(run.model).norm.weight[0] = torch.nan
    before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    with pytest.raises(NonFiniteError, match="the loss is nan at step 5"):
        train_step(run.model, run.optimiser, batch, run.state, 4, config)
    for name, tensor in run.model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0, equal_nan=True)

    run = new_run(config, CPU)
    hook: Callable[[Callable[[Tensor], Tensor]], object] = as_atlas(run.model).norm.weight.register_hook
    hook(lambda gradient: gradient * torch.inf)
    before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    with pytest.raises(NonFiniteError, match=r"the gradient of norm\.weight is not finite at step 5"):
        train_step(run.model, run.optimiser, batch, run.state, 4, config)
    for name, tensor in run.model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_bf16_trains_with_fp32_parameters_gradients_and_state(tmp_path: Path) -> None:
    """Kills: model.bfloat16() instead of autocast; autocast that is never entered; a state in bf16."""
    config = micro_config("train.precision='bf16'")
    run = new_run(config, CPU)
    batch = open_source(config).batch(0)
    result = train_step(run.model, run.optimiser, batch, run.state, 0, config)
    plain = new_run(micro_config(), CPU)
    exact = train_step(plain.model, plain.optimiser, batch, plain.state, 0, micro_config())

    assert {p.dtype for p in run.model.parameters()} == {torch.float32}
    assert {p.grad.dtype for p in run.model.parameters() if p.grad is not None} == {torch.float32}
    floats = [tensor for tensor in result.output.state.to_tensors().values() if tensor.is_floating_point()]
    assert {tensor.dtype for tensor in floats} == {torch.float32}
    assert result.output.logits.dtype == torch.bfloat16
    assert result.loss != exact.loss
    assert result.loss == pytest.approx(exact.loss, rel=1e-2)
    start(config, tmp_path / "run")


def test_a_stop_before_the_first_step_saves_nothing(tmp_path: Path) -> None:
    """Kills: a checkpoint of step 0, which would hide the gradient that the first step gives the initial memory."""
    outcome = start(micro_config(), tmp_path / "run", stop=lambda: True)
    assert outcome.interrupted
    assert not (tmp_path / "run" / "checkpoints").exists()
