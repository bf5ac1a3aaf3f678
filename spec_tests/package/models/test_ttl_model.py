"""The TTL schedule and shards in the layer, the model and a training run: what acts when, and what learns from it.

Every test names the fault that was put into the program by hand and that it caught.
"""

import math
from pathlib import Path

import pytest
import torch

from atlas_ref.blocks.memory_layer import MemoryLayer
from atlas_ref.config import load_config
from atlas_ref.models.atlas import AtlasModel, ModelOutput
from atlas_ref.storage.checkpoint import MODEL, find_checkpoint
from atlas_ref.training.optimiser import build_optimiser
from atlas_ref.training.run import Run
from atlas_ref.watching.monitor import measure_layers
from spec_tests.package.micro.layers import SHARDS, TIME, drawn, make_layer, remember
from spec_tests.package.micro.models import (
    SMALL,
    as_atlas,
    call,
    carried_state,
    largest_difference,
    make_model,
    make_tokens,
)
from spec_tests.package.micro.runs import go_on, metric_lines, micro_config, saved_bytes, start, stop_before


def memory_layers(model: AtlasModel) -> list[MemoryLayer]:
    return [module for module in model.modules() if isinstance(module, MemoryLayer)]


def test_the_warm_up_reads_the_initial_memory_and_the_step_after_it_writes() -> None:
    """Steps 0 to 2 of a warm-up of three, and all later ones, and no step at all; from fresh and from carried state.

    Kills: a warm-up one step too long or too short; one that is counted in calls; one that needs a step to end.
    """
    model = make_model("omega", "model.memory.ttl_warmup_steps=3")
    ablation = make_model("omega", "model.disable_memory=true")
    ablation.load_state_dict(model.state_dict())
    tokens = make_tokens(2, seed=1)
    with torch.no_grad():
        fresh = model.initial_state(2)
        outputs = {step: model(tokens, fresh, None, step) for step in (0, 2, 3, 10, None)}
        initial = call(ablation, tokens, fresh)
        carried = carried_state(model, 2)
        read = model(tokens, carried, None, 2)

    for step in (0, 2):
        # Two models, which need not lay out their products alike.
        torch.testing.assert_close(outputs[step].logits, initial.logits)
        for found, before in zip(outputs[step].state.layers, fresh.layers, strict=True):
            assert torch.equal(found.memory.memory.weights[0], before.memory.memory.weights[0])
            assert not found.memory.memory.momentum[0].any()
            assert (found.memory.memory.position == tokens.shape[1]).all()
            assert found.memory.convolution.any()
    for step in (3, 10):
        assert torch.equal(outputs[step].logits, outputs[None].logits)
        assert largest_difference(outputs[step].state, outputs[2].state) > 1e-2
    assert (read.logits - initial.logits).abs().amax() > 1e-3
    for found, before in zip(read.state.layers, carried.layers, strict=True):
        assert torch.equal(found.memory.memory.weights[0], before.memory.memory.weights[0])
        assert torch.equal(found.memory.memory.momentum[0], before.memory.memory.momentum[0])


def test_in_the_warm_up_the_initial_memory_and_the_address_learn_and_what_writes_does_not() -> None:
    """Kills: reads that are detached; gates, keys or values that act on the memory all the same."""
    layer = make_layer("model.memory.ttl_update_frequency=3", "model.memory.omega_window=2")
    torch.autograd.backward(remember(layer, drawn(2, TIME, 16, seed=10), writes=False).reads.square().sum())
    found = {name: parameter.grad for name, parameter in layer.named_parameters() if parameter.grad is not None}
    widths = [2 * 4, 2 * 4, 2 * 8]
    for name in ("projection.weight", "convolution"):
        queries, keys, values = torch.split(found[name], widths)
        assert queries.abs().amax() > 1e-3
        assert not keys.any()
        assert not values.any()
    assert found["initial.0"].abs().amax() > 1e-3
    assert not found["gates.projection.weight"].any()
    assert not found["gates.projection.bias"].any()


def momentum_norms(path: Path) -> dict[int, float]:
    return {line["step"]: line["memory/layer_0/momentum_norm"] for line in metric_lines(path) if "train/loss" in line}


def test_a_run_begins_to_write_at_its_step_whether_or_not_it_was_resumed(tmp_path: Path) -> None:
    """In shards, a write every third token; resumed at step 2 of the warm-up, and at step 5 in the middle of three.

    Kills: a training loop that does not say which step it makes; a warm-up that begins again with a resume; losses that
    wait left out of a checkpoint.
    """
    gathered = ("model.memory.ttl_update_frequency=3", "model.memory.shards.length=8")
    steps = ("train.log_interval=1", "train.save_interval=1", "train.max_steps=7")
    config = micro_config("model.memory.ttl_warmup_steps=4", *gathered, *steps)
    start(config, tmp_path / "whole")
    start(config, tmp_path / "parts", stop_before(3))
    go_on(config, tmp_path / "parts", stop=stop_before(4))
    go_on(config, tmp_path / "parts")
    for run in ("whole", "parts"):
        norms = momentum_norms(tmp_path / run)
        assert [norms[step] for step in (1, 2, 3, 4)] == [0.0] * 4
        assert all(norms[step] > 0.0 for step in (5, 6, 7))
    assert momentum_norms(tmp_path / "whole") == momentum_norms(tmp_path / "parts")
    assert saved_bytes(tmp_path / "whole") == saved_bytes(tmp_path / "parts")


def test_the_mixing_rate_is_reported_where_there_are_shards() -> None:
    """Kills: a rate that is always reported, so that its switch watches a constant; the logit in its place."""
    for overrides, reported in (((), False), (SHARDS, True), ((*SHARDS, "model.disable_memory=true"), False)):
        config = micro_config(*SMALL, *overrides, "model.memory.shards.alpha_init=0.3").model
        model = AtlasModel(config, seed=0)
        output = call(model, make_tokens(1, seed=1), model.initial_state(1))
        tables = measure_layers(output, config)
        assert len(tables) == config.n_layers
        for table in tables:
            assert ("m3_alpha" in table) is reported
            assert table.get("m3_alpha", 0.3) == pytest.approx(0.3, rel=1e-6)


def test_the_logit_learns_from_the_first_step_that_crosses_beyond_the_warm_up_and_never_decays(
    runs: list[Run], tmp_path: Path
) -> None:
    """Rows of 16 tokens, shards of 8, a warm-up of two crossings: step 1 crosses once, step 2 for the second and third
    time. Kills: a warm-up in steps; a logit that no optimiser owns, or that is decayed like a matrix.
    """
    short = ("data.sequence_length=16", "train.max_steps=2", "optim.weight_decay=0.5")
    config = micro_config(*SHARDS, "model.memory.shards.alpha_init=0.3", *short)
    seen: list[list[float]] = []

    def watch() -> bool:
        seen.append([float(layer.alpha_logit.detach()) for layer in memory_layers(as_atlas(runs[-1].model))])
        return False

    start(config, tmp_path / "run", watch)
    watch()
    before, after_first, after_second = seen
    assert before == pytest.approx([math.log(0.3 / 0.7)] * 2, rel=1e-6)
    assert after_first == before
    assert all(abs(value - begun) > 1e-5 for value, begun in zip(after_second, before, strict=True))
    optimiser = build_optimiser(runs[-1].model, config.optim)
    (group,) = (
        group
        for group in optimiser.parts["adamw"].param_groups
        if any(p is memory_layers(as_atlas(runs[-1].model))[0].alpha_logit for p in group["params"])
    )
    assert group["weight_decay"] == 0.0
    saved = find_checkpoint(tmp_path / "run").tensors(MODEL)
    logits = {name: tensor for name, tensor in saved.items() if name.endswith("alpha_logit")}
    assert [tensor.dtype for tensor in logits.values()] == [torch.float32] * 2


def test_the_source_shape_trains_through_its_shards() -> None:
    """`tnt-atlas`, narrower and with shorter shards, in bf16: every layer's logit gets a gradient, the loss is finite.

    Kills: a preset whose shards nothing crosses; a mixing that fails in another dtype, or under Newton-Schulz.
    """
    config = load_config(
        "tnt-atlas",
        [
            "model.d_model=32",
            "model.n_heads=2",
            "model.n_layers=2",
            "model.attention.window=8",
            "model.memory.chunk=8",
            "model.memory.key_dim=4",
            "model.memory.value_dim=16",
            "model.memory.shards.length=16",
            "train.batch_size=2",
            "train.device='cpu'",
        ],
    )
    assert load_config("tnt-atlas").model.memory.shards.length > 0
    model = AtlasModel(config.model, seed=0)
    tokens = make_tokens(2, seed=3, time=72)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output: ModelOutput = model(tokens, model.initial_state(2), None, 0)
    torch.autograd.backward(output.logits.float().square().mean())

    assert output.logits.isfinite().all()
    for layer in memory_layers(model):
        assert layer.alpha_logit.grad is not None
        assert layer.alpha_logit.dtype == torch.float32
        assert 0.0 < float(layer.alpha_logit.grad.abs()) < math.inf
