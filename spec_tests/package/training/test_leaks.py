"""Leaks: nothing of a step outlives it, so training for longer takes no more memory.

Resident memory itself is measured by `benchmarks/resident_memory.py`; here is why it stays flat. Every test names the
fault that was put into the program by hand and that it caught.
"""

import gc
import weakref
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from atlas_ref.config import RunConfig
from atlas_ref.processes.distributed import World
from atlas_ref.training.run import Run, new_run
from spec_tests.package.micro.runs import RECALL, Silence, micro_config, start
from spec_tests.sampling import sample

SMALL = (
    "data.sequence_length=16",
    "train.max_steps=6",
    "train.log_interval=2",
    "train.eval_interval=3",
    "train.eval_batches=1",
    "train.save_interval=4",
)
COUNTED = (2, 6)
"""Steps after which tensors are counted; not the first, with which the moments of the optimiser come."""
VARIANTS = {
    "matrix": (),
    "mlp, titans": (*RECALL, "model.memory.architecture='mlp'", "model.memory.rule='titans'"),
    "Newton-Schulz, Muon": ("model.memory.rule='atlas'", "optim.name='muon'"),
}


class Box:
    """Holds a tensor that a graph has saved; it lives as long as the graph holds it."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class Watcher(Silence):
    """A reporter that counts, at the start of each step's report, what is alive."""

    def __init__(self, boxes: "weakref.WeakSet[Box]") -> None:
        self.boxes = boxes
        self.saved: list[int] = []
        self.tensors: list[int] = []

    def on_step(self, step: int, loss: float, tokens_per_second: float) -> None:
        del loss, tokens_per_second
        self.saved.append(len(self.boxes))
        if step in COUNTED:
            gc.collect()
            self.tensors.append(sum(issubclass(type(thing), Tensor) for thing in gc.get_objects()))


@pytest.mark.parametrize("variant", sample(reversed(VARIANTS)))
def test_no_graph_and_no_tensor_outlives_its_step(
    variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a state that keeps the graph of all steps before it; a loss kept as a tensor in a list; a telemetry that
    is kept from step to step.
    """
    boxes: weakref.WeakSet[Box] = weakref.WeakSet()
    runs: list[Run] = []

    def pack(tensor: Tensor) -> Box:
        box = Box(tensor)
        boxes.add(box)
        return box

    def kept(config: RunConfig, device: torch.device, world: World, update: int) -> Run:
        runs.append(new_run(config, device, world, update))
        return runs[-1]

    monkeypatch.setattr("atlas_ref.training.loop.new_run", kept)
    watcher = Watcher(boxes)
    with saved_tensors_hooks(pack, lambda box: box.tensor):
        start(micro_config(*SMALL, *VARIANTS[variant]), tmp_path / "run", reporter=watcher)

    assert len(boxes) == 0
    assert not any(tensor.requires_grad for tensor in runs[0].state.to_tensors().values())
    # A gradient of the initial memory comes and goes with the documents that begin in a step.
    first, last = watcher.tensors
    assert 0 < last <= first
    assert len(set(watcher.saved)) == 1, watcher.saved
