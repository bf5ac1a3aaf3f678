"""Micro-batches: k parts one after another equal one batch of all rows, in loss, gradients, state and measurements.

The reference is a whole batch in one call, in float64 where rounding would hide a small fault.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from atlas_ref.blocks.telemetry import LayerTelemetry, MemoryTelemetry
from atlas_ref.data.batch import IGNORED, Batch
from atlas_ref.data.streams import open_source
from atlas_ref.errors import UserError
from atlas_ref.memory.state import join_rows
from atlas_ref.models.atlas import ModelOutput
from atlas_ref.models.family import Output
from atlas_ref.processes.merging import RULES, merge_columns, merge_telemetry
from atlas_ref.training import step as steps
from atlas_ref.training.clipping import NonFiniteError
from atlas_ref.training.run import Run, new_run
from atlas_ref.training.step import train_step
from atlas_ref.watching.monitor import measure_layers
from spec_tests.package.micro.runs import DROPOUT, micro_config
from spec_tests.sampling import crossed, sample

CPU = torch.device("cpu")
VARIED = (
    "train.batch_size=4",
    "optim.max_norm=1e6",
    "model.memory.rule='atlas'",
    "model.memory.omega_window=3",
    "model.memory.qk_projection.kind='frobenius_tanh'",
    "model.gate.floor=0.1",
    "model.gate.floor_start=0.1",
    "model.memory.shards.length=16",
    "optim.polarisation_start=0.3",
    "optim.polarisation_end=0.3",
    "optim.average=0.9",
    "optim.memory_rate=0.5",
)


def ragged_batch(step: int) -> Batch:
    """A batch whose rows begin documents at different tokens, and count different numbers of targets."""
    batch = open_source(micro_config(*VARIED)).batch(step)
    batch.reset[1, 5] = batch.reset[3, 17] = True
    batch.targets[0, :20] = batch.targets[2, 3] = IGNORED
    return batch


def two_steps(parts: int, wide: bool) -> tuple[Run, list[Any], dict[str, Tensor]]:
    """Make two steps in `parts` parts; return the run, the results and the gradients of the second step.

    Wide with dropout everywhere: behind embeddings that are partly zero the rule `atlas` magnifies what fp32 rounds.
    """
    config = micro_config(*VARIED, *(DROPOUT if wide else ()), f"train.micro_batches={parts}")
    run = new_run(config, CPU)
    if wide:
        run.model.double()
        run.state = run.state.map(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
    results = []
    for number in range(2):
        result = train_step(run.network, run.optimiser, ragged_batch(number), run.state, number, config)
        run.state = result.output.state
        results.append(result)
    gradients = {name: p.grad for name, p in run.model.named_parameters() if p.grad is not None}
    return run, results, gradients


@pytest.mark.parametrize(("parts", "wide"), crossed([2, 4], [False, True]))
def test_parts_have_the_gradients_and_the_state_of_the_whole(parts: int, wide: bool) -> None:
    """Kills: the mean of the parts' own means, where rows count different numbers of targets; the last part's gradient
    alone; a state that lacks rows or has them in another order; a part that starts from the first rows' state."""
    whole, whole_results, expected = two_steps(1, wide)
    cut, results, gradients = two_steps(parts, wide)
    limit = 1e-11 if wide else 1e-6

    assert gradients.keys() == expected.keys()
    size = math.sqrt(sum(x.square().sum().item() for x in expected.values()))
    off = math.sqrt(sum((expected[name] - x).square().sum().item() for name, x in gradients.items()))
    assert off / size < limit
    for one, other in zip(whole_results, results, strict=True):
        assert other.loss == pytest.approx(one.loss, rel=1e-6 if not wide else 1e-12)
        assert other.grad_norm == pytest.approx(one.grad_norm, rel=1e-6 if not wide else 1e-11)
    states = whole.state.to_tensors()
    for name, tensor in cut.state.to_tensors().items():
        assert tensor.shape == states[name].shape
        torch.testing.assert_close(tensor, states[name], rtol=1e-4 if not wide else 1e-9, atol=limit)


def test_parts_of_one_step_leave_the_same_state_bit_for_bit_where_the_kernels_do() -> None:
    """Position counters are equal exactly; a forward pass of the parts, by hand, has the bits of the step's state."""
    config = micro_config(*VARIED, "train.micro_batches=2")
    run, batch = new_run(config, CPU), ragged_batch(0)
    model = run.model
    halves = [slice(0, 2), slice(2, 4)]
    with torch.no_grad():
        outputs = [model(batch.tokens[h], run.state.rows(h), batch.reset[h], 0) for h in halves]
    expected = join_rows([output.state for output in outputs]).to_tensors()
    result = train_step(run.network, run.optimiser, batch, run.state, 0, config)
    for name, tensor in result.output.state.to_tensors().items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("parts", sample([2, 4]))
def test_the_monitor_sees_the_numbers_of_the_whole_batch(parts: int) -> None:
    """Kills: a deviation that is the mean of deviations; a norm that is a mean; the telemetry of the last part."""
    config = micro_config(*VARIED)
    (_, whole, _), (_, cut, _) = two_steps(1, wide=True), two_steps(parts, wide=True)
    for one, other in zip(whole, cut, strict=True):
        expected, found = (measure_layers(result.output, config.model) for result in (one, other))
        for layer, table in zip(expected, found, strict=True):
            assert table == pytest.approx(layer, rel=1e-6, abs=1e-9)


def test_every_field_has_the_rule_of_its_statistic() -> None:
    """Kills: a rule of another statistic. Compared with numpy over the rows of four unequal parts."""
    random = np.random.Generator(np.random.Philox(key=3))
    parts = random.normal(size=(4, 500)) * random.uniform(0.5, 2.0, size=(4, 1)) + random.normal(size=(4, 1))
    statistics: dict[str, Callable[..., Any]] = {
        "gate_mean": np.mean,
        "gate_std": np.std,
        "gate_variance": np.var,
        "gate_min": np.min,
        "gate_max": np.max,
        "read_norm": lambda x: np.sqrt(np.mean(x**2)),
        "newton_schulz_error": np.max,
        "state_finite": np.min,
    }
    table = torch.tensor([[float(of(part)) for of in statistics.values()] for part in parts], dtype=torch.float64)
    merged = merge_columns(table, list(statistics)).tolist()
    assert merged == pytest.approx([float(of(parts)) for of in statistics.values()], rel=1e-12)


def test_a_field_without_a_rule_is_an_error() -> None:
    """Kills: a new measurement that is merged by a guess, or dropped."""
    measured = measure_layers(forward_once(), micro_config(*VARIED).model)[0]
    told = {*LayerTelemetry._fields, *MemoryTelemetry._fields} - {"memories"}
    assert told | set(measured) <= set(RULES)
    with pytest.raises(KeyError, match="no rule in RULES says how the field 'temperature'"):
        merge_columns(torch.zeros(2, 2), ["gate_mean", "temperature"])


def test_what_a_layer_does_not_measure_stays_unmeasured() -> None:
    """Kills: a None that becomes a zero, which a kill switch would take for a number."""
    run = new_run(micro_config(), CPU)
    batch = open_source(micro_config()).batch(0)
    telemetry = run.model(batch.tokens, run.state, batch.reset).telemetry
    assert telemetry[0].tanh_linear is None
    merged = merge_telemetry([telemetry, telemetry])
    assert merged[0].tanh_linear is None
    torch.testing.assert_close(merged[0].gate_std, telemetry[0].gate_std.double())


def forward_once() -> ModelOutput:
    run = new_run(micro_config(*VARIED), CPU)
    batch = ragged_batch(0)
    output: ModelOutput = run.model(batch.tokens, run.state, batch.reset)
    return output


def broken_row(tensor: Tensor) -> Tensor:
    """Row 2 in the middle of a document whose state has overflowed."""
    tensor = tensor.clone()
    tensor[2] = torch.nan if tensor.is_floating_point() else 9
    return tensor


def test_a_part_that_is_not_finite_changes_nothing() -> None:
    """Kills: a step on the parts that were finite."""
    config = micro_config(*VARIED, "train.micro_batches=4")
    run = new_run(config, CPU)
    before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    batch = ragged_batch(0)
    batch.reset[2] = False
    state = run.state.map(
        lambda t: t.clone().index_fill_(0, torch.tensor([2]), torch.nan if t.is_floating_point() else 9)
    )
    with pytest.raises(NonFiniteError, match="the loss is nan at step 1"):
        train_step(run.network, run.optimiser, batch, state, 0, config)
    for name, tensor in run.model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_parts_run_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: `micro_batches` that nothing reads; parts whose graphs are all kept until the end."""
    calls: list[str] = []
    forward, backward = steps.forward, torch.autograd.backward

    def record_forward(*arguments: Any, **options: Any) -> Output:
        calls.append(f"forward {len(arguments[1].tokens)}")
        return forward(*arguments, **options)

    def record_backward(loss: Tensor) -> None:
        calls.append("backward")
        backward(loss)

    monkeypatch.setattr(steps, "forward", record_forward)
    monkeypatch.setattr(torch.autograd, "backward", record_backward)
    two_steps(2, wide=False)
    assert calls == ["forward 2", "backward"] * 4


def test_parts_that_do_not_divide_are_refused() -> None:
    with pytest.raises(UserError, match=r"train\.micro_batches is 3; it must divide train\.batch_size"):
        micro_config("train.batch_size=4", "train.micro_batches=3")
