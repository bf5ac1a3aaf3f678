"""How fast a run is, as its log says it, and the operations that the share of the device is taken from.

Every test names the fault that was put into the program by hand and that it caught.
"""

import json
import time
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from atlas_ref.models.flops import forward_flops, training_flops, weight_flops
from atlas_ref.processes.distributed import ALONE, World
from atlas_ref.storage.metrics_log import SOMETIMES, TIMING
from atlas_ref.watching import speed
from atlas_ref.watching.speed import Speed, memory_bytes, peak
from spec_tests.package.micro.models import VARIANTS, call, make_model, make_tokens
from spec_tests.package.micro.runs import metric_lines, micro_config, start

aten = torch.ops.aten


@pytest.mark.parametrize("variant", ["omega", "omega literal mlp pre", "atlas tnt truncate", "delta no convolution"])
def test_products_with_weights_are_those_that_torch_counts(variant: str) -> None:
    """Kills: a matrix left out or counted that no token passes through; 1 for 2 operations; a head that is not tied."""
    model = make_model(variant)
    tokens = make_tokens(2, seed=1, time=8)
    with FlopCounterMode(display=False) as counter:
        call(model, tokens, model.initial_state(2))
    counts = counter.get_flop_counts()["Global"]
    # A product with a weight is one of plain matrices; what has a batch axis is attention or memory.
    products = sum(counts.get(kind, 0) for kind in (aten.mm, aten.addmm))
    config = model.config
    persistent = config.n_layers * 2 * config.attention.persistent_tokens * 3 * config.d_model**2
    kernel = config.memory.conv_kernel
    channels = config.n_heads * (2 * config.memory.key_dim + config.memory.value_dim)
    filters = config.n_layers * 2 * channels * kernel
    assert products - persistent == (weight_flops(config) - filters) * tokens.numel()


def test_operations_of_attention_and_memory_are_those_of_a_hand_count() -> None:
    """Kills: a term of the formula lost or doubled; heads or layers that are not counted; a window that is the chunk;
    Newton-Schulz counted along its longer side, or once instead of at each iteration."""
    sizes = ("model.attention.window=5", "model.attention.persistent_tokens=2", "model.n_layers=3")

    def beyond_weights(*overrides: str) -> int:
        config = micro_config(*sizes, *overrides).model
        found = forward_flops(config) - weight_flops(config)
        assert found % 3 == 0
        return found // 3

    attention = 2 * (2 * 32 * 7)  # scores of 7 keys at width 32, and their mixture
    matrix = 2 * 16 * 8  # one product with a 16 x 8 matrix
    assert beyond_weights() == attention + 2 * (3 * matrix)
    assert beyond_weights("model.disable_memory=true") == attention + 2 * matrix
    cubed = 2 * 8**3
    gram, applied = 2 * 8 * 16 * 8, 2 * 8 * 8 * 16
    quintic = ("model.memory.rule='atlas'", "model.memory.newton_schulz.steps=5")
    assert beyond_weights(*quintic) == attention + 2 * (3 * matrix + 5 * (gram + cubed + applied))
    cubic = (*quintic, "model.memory.newton_schulz.coefficients='cubic'")
    assert beyond_weights(*cubic) == attention + 2 * (3 * matrix + 5 * (gram + applied))
    outer, inner = 2 * 16 * 32, 2 * 32 * 8  # 16 x 32 after 32 x 8
    mlp = ("model.memory.architecture='mlp'", "model.memory.expansion=2")
    assert beyond_weights(*mlp) == attention + 2 * (3 * (outer + inner) + outer)
    projected = 2 * 8 * 8 + 2 * 8 * 8
    assert beyond_weights("model.memory.qk_projection.kind='tnt'") == attention + 2 * (3 * matrix + projected)
    features = 8 + 8 * 9 // 2
    wider = beyond_weights("model.memory.features.degree=2")
    assert wider == attention + 2 * 3 * 2 * 16 * features
    config = micro_config().model
    assert training_flops(config) == 3 * forward_flops(config)


def test_every_variant_has_a_count() -> None:
    """Kills: a kind of memory whose matrices are not known."""
    counts = {name: forward_flops(make_model(name).config) for name in VARIANTS}
    assert min(counts.values()) > 0


def test_numbers_of_speed_are_means_since_the_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: seconds in all for seconds a step; a peak of one device for several; counters that are not reset."""
    monkeypatch.setattr(speed, "peak", lambda device, precision, threads: 1e9)
    config, device = micro_config(), torch.device("cpu")
    counted = Speed()
    counted.add(64, 0.5)
    counted.add(64, 1.5)
    found = counted.take(config, device, ALONE)
    assert (found["train/tokens_per_second"], found["train/step_seconds"]) == (64.0, 1.0)
    assert found["train/mfu"] == pytest.approx(64 * training_flops(config.model) / 1e9)
    assert found["train/memory_bytes"] == memory_bytes(device) > 10 * 2**20
    counted.add(100, 0.25)
    shared = counted.take(config, device, World(rank=0, size=2, local_rank=0))
    assert (shared["train/tokens_per_second"], shared["train/step_seconds"]) == (400.0, 0.25)
    assert shared["train/mfu"] == pytest.approx(400 * training_flops(config.model) / 2e9)


def test_the_time_of_a_run_goes_on_where_its_log_ends(tmp_path: Path) -> None:
    """Kills: hours that begin anew at every start; an epoch whose minutes are those since the last start."""
    log = tmp_path / "metrics.jsonl"
    lines = [{"step": 1, "train/hours": 0.5}, {"step": 2, "train/hours": 1.0, "epoch/minutes": 60.0}]
    lines += [{"step": 3, "val/loss": 2.0}, {"step": 4, "train/hours": 1.25}]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    counted = Speed.after(log)
    counted.add(64, 900.0)
    assert counted.end_epoch() == {"epoch/minutes": 30.0, "train/hours": 1.5}
    counted.add(64, 90.0)
    assert counted.end_epoch()["epoch/minutes"] == pytest.approx(1.5)
    assert Speed.after(tmp_path / "none") == Speed()


def test_the_peak_is_the_best_of_some_products_of_two_square_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: n^3 for 2 n^3; the mean, into which a disturbance goes; a product that is measured again at every line."""
    ticks = iter([0.0, 4.0, 10.0, 11.0, 20.0, 22.0, 30.0, 33.0, 40.0, 44.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    found = peak(torch.device("cpu"), "fp32", 1007)
    assert found == 2 * 512**3
    assert peak(torch.device("cpu"), "fp32", 1007) == found


def test_a_run_logs_speed_memory_and_its_share_of_the_device(tmp_path: Path) -> None:
    """Kills: a number that is missing from a line, or stands where nothing was trained; one that equal runs share."""
    start(micro_config("train.max_steps=3", "model.n_layers=1"), tmp_path / "run")
    lines = metric_lines(tmp_path / "run")
    always = set(TIMING) - set(SOMETIMES)
    names = ("tokens_per_second", "step_seconds", "memory_bytes", "mfu", "hours")
    assert always == {f"train/{name}" for name in names}
    for line in lines:
        assert all(line[key] > 0.0 for key in always)
        tokens = micro_config().train.batch_size * micro_config().data.sequence_length
        assert line["train/tokens_per_second"] * line["train/step_seconds"] == pytest.approx(tokens)
