"""The floor of the gates over a run: its closed form, and that everything sees the floor of its step.

Every test names the fault that was put into the program by hand and that it caught.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from atlas_ref.blocks import joined
from atlas_ref.blocks.phase import phase_at
from atlas_ref.config import RunConfig
from atlas_ref.data.streams import open_source
from atlas_ref.functional.mag_gate import Gated, GateKind, mag_gate
from atlas_ref.models.atlas import ModelOutput
from atlas_ref.storage.checkpoint import find_checkpoint
from atlas_ref.tasks.registry import task_of
from atlas_ref.training.evaluate import evaluate
from atlas_ref.training.run import load_model
from atlas_ref.watching.monitor import measure_layers
from spec_tests.package.micro.command import Atlas
from spec_tests.package.micro.models import carried_state, make_model, make_tokens
from spec_tests.package.micro.runs import (
    go_on,
    metric_lines,
    micro_config,
    saved_bytes,
    start,
    stop_before,
    without_timing,
)

START, END, STEPS = 0.6, 0.1, 5
FALLING = (
    f"model.gate.floor_start={START}",
    f"model.gate.floor={END}",
    f"model.gate.floor_decay_steps={STEPS}",
)
EXPECTED = (0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.1, 0.1)
"""The floor of the first eight steps."""


def falling_config(*overrides: str) -> RunConfig:
    """Return a small run whose floor comes down."""
    return micro_config(*FALLING, *overrides)


@contextmanager
def recorded() -> Iterator[list[tuple[float, Tensor, Gated]]]:
    """Collect the floor, the sigmoid and what came of them, of every layer of every call."""
    calls: list[tuple[float, Tensor, Gated]] = []

    def record(kind: GateKind, attention: Tensor, memory: Tensor, logits: Tensor | None, floor: float) -> Gated:
        gated = mag_gate(kind, attention, memory, logits, floor)
        calls.append((floor, 1 / (1 + (-(attention if logits is None else logits).detach()).exp()), gated))
        return gated

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joined, "mag_gate", record)
        yield calls


def test_the_floor_comes_down_in_a_straight_line_and_stays_there() -> None:
    """Kills: a line that ends a step late or overshoots; a start that is the end; None read as step 0; floors that
    fall in equal ratios.
    """
    model = falling_config().model
    assert [phase_at(model, step).gate_floor for step in range(8)] == pytest.approx(EXPECTED, abs=1e-15)
    assert phase_at(model, 10**9).gate_floor == phase_at(model, None).gate_floor == END
    still = micro_config("model.gate.floor=0.2", "model.gate.floor_start=0.9", "model.gate.floor_decay_steps=0").model
    assert [phase_at(still, step).gate_floor for step in (0, 1, None)] == [0.2, 0.2, 0.2]


@pytest.mark.parametrize("kind", ["source", "convex"])
@pytest.mark.parametrize("step", [0, 2, 4, 9])
def test_gate_statistics_are_right_at_every_step_of_the_schedule(kind: str, step: int) -> None:
    """Kills: raw gates computed back with the last floor; shares or the memory's share taken behind the floor; the
    schedule left out of the block.
    """
    model = make_model("omega", f"model.gate.kind='{kind}'", *FALLING, "model.init_std=0.9")
    with recorded() as calls, torch.no_grad():
        output: ModelOutput = model(make_tokens(3, 5), carried_state(model, 3), None, step)
        tables = measure_layers(output, model.config)

    # The state before was made without a step, so the last two calls are this one's.
    for (_, sigmoid, gated), table in zip(calls[-2:], tables, strict=True):
        raw = sigmoid.numpy()
        floor = EXPECTED[min(step, 7)]
        acting = floor + (1 - floor) * raw
        expected = {
            **{f"gate_{name}": getattr(acting, name)() for name in ("mean", "std", "min", "max")},
            **{f"raw_gate_{name}": getattr(raw, name)() for name in ("mean", "std", "min", "max")},
            "gate_variance": acting.var(),
            "memory_share": raw.mean() if kind == "source" else 1 - raw.mean(),
            "gate_polarised": np.mean((raw < 0.1) | (raw > 0.9)),
            "gate_undecided": np.mean((raw > 0.4) & (raw < 0.6)),
        }
        assert {name: table[name] for name in expected} == pytest.approx(expected, rel=1e-7)
        np.testing.assert_allclose(gated.gate.numpy(), acting, rtol=1e-12)
        assert raw.min() < 0.05
        assert 0.02 < table["gate_polarised"] < 0.9


@pytest.mark.parametrize("step", [0, 3, 20])
def test_a_gate_far_below_the_floor_still_learns(step: int) -> None:
    """Kills: max(gate, floor), whose gradient is zero below the floor; a floor that scales the gradient by its own."""
    floor = EXPECTED[min(step, 7)]
    model = make_model("titans convex degree 2", *FALLING)
    gate = model.layers[0].get_submodule("mag.gate")
    bias = gate.get_parameter("bias")
    with torch.no_grad():
        bias.fill_(-6.0)
        gate.get_parameter("weight").zero_()
    with recorded() as calls:
        output: ModelOutput = model(make_tokens(2, 5), model.initial_state(2), None, step)
    found = calls[0][2]
    (slope,) = torch.autograd.grad(found.gate.sum(), bias, retain_graph=True)
    raw = 1 / (1 + np.exp(6.0))
    np.testing.assert_allclose(found.gate.detach().numpy(), floor + (1 - floor) * raw, rtol=1e-12)
    gates_of_a_feature = found.gate.numel() / bias.numel()
    np.testing.assert_allclose(slope.numpy(), (1 - floor) * raw * (1 - raw) * gates_of_a_feature, rtol=1e-9)
    (learns,) = torch.autograd.grad(output.logits.square().sum(), bias)
    assert bool((learns != 0).all())


def test_every_training_step_and_every_validation_has_the_floor_of_its_step(tmp_path: Path) -> None:
    """Kills: validation at the end of the schedule, or a step behind; a schedule that counts from the process's start.

    Update n (1-based) follows n - 1 updates; the validation after it follows n.
    """
    config = falling_config("train.eval_interval=3", "train.eval_batches=1", "train.save_interval=2")
    with recorded() as calls:
        start(config, tmp_path / "run", stop_before(3))
        go_on(config, tmp_path / "run")
    floors = [floor for floor, _, _ in calls[:: config.model.n_layers]]
    expected = [0.6, 0.5, 0.4, 0.3, 0.3, 0.2, 0.1, 0.1]  # the fourth and the last are validations, after 3 and 6
    assert floors == pytest.approx(expected, abs=1e-15)
    assert [floor for floor, _, _ in calls[1 :: config.model.n_layers]] == floors


def test_a_run_stopped_in_the_middle_of_the_schedule_goes_on_as_if_it_had_not(tmp_path: Path) -> None:
    """Kills: a floor that starts again, or that ends, with the process."""
    config = falling_config("train.log_interval=1")
    start(config, tmp_path / "whole")
    start(config, tmp_path / "parts", stop_before(3))
    go_on(config, tmp_path / "parts")
    assert saved_bytes(tmp_path / "parts") == saved_bytes(tmp_path / "whole")
    lines = without_timing(metric_lines(tmp_path / "whole"))
    assert without_timing(metric_lines(tmp_path / "parts")) == lines
    for floor, line in zip(EXPECTED, lines, strict=False):
        reached = floor + (1 - floor) * line["memory/layer_1/raw_gate_min"]
        assert line["memory/layer_1/gate_min"] == pytest.approx(reached, rel=1e-5)


def test_a_checkpoint_in_the_middle_is_evaluated_with_the_floor_of_its_step(tmp_path: Path, atlas: Atlas) -> None:
    """Kills: `atlas eval` at the end of the schedule; the number of batches taken for the step."""
    config = falling_config("train.max_steps=2", "train.save_interval=2", "train.eval_interval=2")
    start(config, tmp_path / "run")
    with recorded() as calls:
        result = atlas("eval", tmp_path / "run", "--json")
    assert {round(floor, 12) for floor, _, _ in calls} == {EXPECTED[2]}
    found = json.loads(result.out)["loss"]
    assert found == metric_lines(tmp_path / "run")[-1]["val/loss"]
    checkpoint = find_checkpoint(tmp_path / "run")
    model = load_model(checkpoint, torch.device("cpu"))
    ended = evaluate(model, task_of(config.data), open_source(config), config.train.eval_batches, "fp32")["loss"]
    assert abs(found - ended) > 1e-6
