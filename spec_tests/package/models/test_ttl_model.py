"""The TTL schedule and shards in the layer, the model and a training run: what acts when, and what learns from it.

Every test names the fault that was put into the program by hand and that it caught.
"""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from atlas_ref.blocks.memory_layer import MemoryLayer, MemoryLayerOutput
from atlas_ref.config import load_config
from atlas_ref.functional.normalize import l2_normalize
from atlas_ref.memory.plan import make_plan
from atlas_ref.memory.shards import Shards, qk_project_in_shards
from atlas_ref.models.atlas import AtlasModel, ModelOutput
from atlas_ref.storage.checkpoint import MODEL, find_checkpoint
from atlas_ref.training.optimiser import build_optimiser
from atlas_ref.training.run import Run
from atlas_ref.watching.monitor import measure_layers
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

TIME = 20
LAYER = ("model.d_model=16", "model.memory.key_dim=4", "model.memory.value_dim=8", "model.memory.chunk=4")
SHARDS = ("model.memory.shards.length=8", "model.memory.shards.warmup_crossings=2")
TRACES = {8: 8.0, 9: 1.8, 16: 8.8, 17: 0.3 * 8.8 + 1.0, 25: 0.6 * (0.3 * 8.8 + 8.0) + 1.0}
"""By the number of tokens, the sum of squares of the unit keys in Pi, each mixed at every border behind it."""


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make_layer(*overrides: str) -> MemoryLayer:
    """Return a memory layer in float64 whose gates depend on tokens."""
    config = micro_config(*LAYER, *overrides).model
    layer = MemoryLayer(config.d_model, config.n_heads, config.memory).double()
    layer.initialise(torch.Generator().manual_seed(1), 0.3)
    with torch.no_grad():
        for number, parameter in enumerate(layer.parameters()):
            parameter.add_(0.2 * drawn(*parameter.shape, seed=20 + number))
    return layer


def remember(layer: MemoryLayer, hidden: Tensor, reset: Tensor | None = None, writes: bool = True) -> MemoryLayerOutput:
    """Run a layer from a fresh state."""
    state = layer.initial_state(len(hidden))
    shard = layer.config.shards.length
    plan = make_plan(state.memory.position, reset, hidden.shape[1], layer.config.chunk, shard)
    output: MemoryLayerOutput = layer(hidden, state, reset, plan, writes)
    return output


def memory_layers(model: AtlasModel) -> list[MemoryLayer]:
    return [module for module in model.modules() if isinstance(module, MemoryLayer)]


@pytest.mark.parametrize("changed", [1, 3, 7, 9])
def test_a_changed_token_moves_the_reads_of_a_layer_from_the_next_write_on(changed: int) -> None:
    """N = 4, no convolution; row 1 begins a document at token 6. The token's own read moves by its query.

    Kills: a frequency that the layer does not hand to its rule; a count from the start of the call.
    """
    layer = make_layer("model.memory.conv_kernel=1", "model.memory.ttl_update_frequency=4")
    reset = torch.zeros(2, TIME, dtype=torch.bool)
    reset[1, 6] = True
    hidden = drawn(2, TIME, 16, seed=2)
    other = hidden.clone()
    other[:, changed] = drawn(2, 16, seed=3)
    with torch.no_grad():
        gap = (remember(layer, hidden, reset).reads - remember(layer, other, reset).reads).abs().amax(-1) > 0.0

    for row, begun in ((0, 0), (1, 6 if changed >= 6 else 0)):
        write = changed + 3 - (changed - begun) % 4
        end = 6 if row == 1 and changed < 6 else TIME
        expected = [t == changed or write <= t < end for t in range(TIME)]
        assert gap[row].tolist() == expected, f"row {row}"


def literal_projection(
    queries: Tensor, keys: Tensor, carry: Tensor, position: Tensor, shards: Shards
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return Pi q, the last Pi and ||Pi|| of every token, by a loop over rows, heads and tokens."""
    q, k, state, at = (x.detach().numpy() for x in (queries, keys, carry, position))
    projected, norms, state = np.zeros_like(q), np.zeros(q.shape[:3]), state.copy()
    for row, time, head in np.ndindex(q.shape[:3]):
        p = int(at[row, time])
        if p == 0:
            state[row, head] = 0.0
        elif p % shards.length == 0:
            crossing = p // shards.length - 1
            learned = 1.0 / (1.0 + math.exp(-float(shards.alpha_logit)))
            ramp = 0.1 + 0.4 * crossing / max(shards.warmup_crossings, 1)
            state[row, head] *= ramp if crossing < shards.warmup_crossings else learned
        u = k[row, time, head] / np.linalg.norm(k[row, time, head])
        state[row, head] += np.outer(u, u)
        projected[row, time, head] = state[row, head] @ q[row, time, head]
        norms[row, time, head] = np.linalg.norm(state[row, head])
    return projected, state, norms


@pytest.mark.parametrize("cuts", [(), (3, 8, 9)], ids=["one call", "four calls"])
def test_the_projection_is_mixed_at_every_border_of_every_row(cuts: tuple[int, ...]) -> None:
    """Rows out of phase, one begins a document in the middle of a shard; shards of 8, a warm-up of two crossings.

    Kills: a border that all rows cross; Pi that restarts, or goes on, at a border; a ramp from the start of the call.
    """
    batch, time, shards = 3, 21, Shards(8, 2, torch.tensor(0.9, dtype=torch.float64))
    queries, keys = drawn(batch, time, 2, 4, seed=4), l2_normalize(drawn(batch, time, 2, 4, seed=5), 1e-6)
    root = drawn(batch, 2, 4, 4, seed=6)
    carry, before = root @ root.mT, torch.tensor([0, 13, 27])
    reset = torch.zeros(batch, time, dtype=torch.bool)
    reset[1, 9] = True
    position = make_plan(before, reset, time, 4, 8).position
    expected = literal_projection(queries, keys, carry, position, shards)
    edges = [0, *cuts, time]
    parts = []
    for begin, end in pairwise(edges):
        part = slice(begin, end)
        plan = make_plan(before, reset[:, part], end - begin, 4, 8)
        *found, norm = qk_project_in_shards(queries[:, part], keys[:, part], carry, plan, shards)
        parts.append((found[0], norm))
        carry, before = found[1], plan.seen(before)

    np.testing.assert_allclose(torch.cat([part[0] for part in parts], 1).numpy(), expected[0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(carry.numpy(), expected[1], rtol=0, atol=1e-12)
    np.testing.assert_allclose(torch.cat([part[1] for part in parts], 1).numpy(), expected[2], rtol=0, atol=1e-12)


def test_a_layer_mixes_its_projection_by_the_trace_of_its_unit_keys() -> None:
    """Each key adds one to the trace of Pi; shards of 8, a ramp of two crossings (0.1, 0.3), then 0.6.

    Kills: a layer that mixes its memory and not its projection.
    """
    layer = make_layer(*SHARDS, "model.memory.shards.alpha_init=0.6", "model.memory.qk_projection.kind='tnt'")
    with torch.no_grad():
        layer.alpha_logit.fill_(math.log(0.6 / 0.4))
        hidden = drawn(2, 26, 16, seed=11)
        found = {t: remember(layer, hidden[:, :t]).state.projection.diagonal(dim1=-2, dim2=-1).sum(-1) for t in TRACES}
    for t, trace in TRACES.items():
        torch.testing.assert_close(found[t], torch.full_like(found[t], trace), rtol=1e-9, atol=0.0)


def test_no_gradient_goes_back_over_a_border_through_the_projection_but_one_goes_to_the_logit() -> None:
    """Kills: Pi that is mixed without its stop; a rate that is a constant."""
    logit = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    keys = drawn(2, 6, 1, 4, seed=7).requires_grad_()
    carry = drawn(2, 1, 4, 4, seed=8).requires_grad_()
    plan = make_plan(torch.tensor([5, 13]), None, 6, 4, 8)
    projected, _, _ = qk_project_in_shards(drawn(2, 6, 1, 4, seed=9), keys, carry, plan, Shards(8, 1, logit))
    gradients = torch.autograd.grad(projected[:, 3:].square().sum((1, 2, 3)).unbind()[1], [keys, carry, logit])

    assert not gradients[0][1, :3].any()
    assert gradients[0][1, 3:].abs().amax() > 1e-3
    assert not gradients[1].any()
    assert abs(float(gradients[2])) > 1e-3


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
        assert torch.equal(outputs[step].logits, initial.logits)
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
