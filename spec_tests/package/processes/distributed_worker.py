"""What `test_distributed` starts in two processes; it writes what it finds, and the test compares it with one process.

    python -m spec_tests.package.processes.distributed_worker DIRECTORY    every check
    torchrun --standalone --nproc_per_node=2 -m spec_tests.package.processes.distributed_worker --kill STEP ARGUMENTS
        `atlas ARGUMENTS`; its second process is killed once, before STEP

A start costs seconds, so one start makes all checks. What DistributedDataParallel imports where it is first made,
`torch._dynamo`, takes as long again: it is imported once, before there are two.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch._dynamo
from safetensors.torch import save_file

from atlas_ref.config import RunConfig
from atlas_ref.data.batch import IGNORED
from atlas_ref.data.streams import open_source
from atlas_ref.errors import UserError
from atlas_ref.processes.distributed import CommonError, World, processes
from atlas_ref.processes.parallel import across, whole
from atlas_ref.storage.checkpoint import find_checkpoint
from atlas_ref.storage.run_directory import Admission, RunDirectory
from atlas_ref.tasks.registry import task_of
from atlas_ref.training.clipping import NonFiniteError
from atlas_ref.training.evaluate import evaluate
from atlas_ref.training.loop import get_ready, merge, train
from atlas_ref.training.run import new_run
from atlas_ref.training.step import train_step
from atlas_ref.watching.kill_report import KilledError
from atlas_ref.watching.monitor import measure_layers
from cli.interrupt import StopRequest
from cli.main import main as atlas
from spec_tests.package.micro.curriculum import curriculum_config
from spec_tests.package.micro.runs import SKIPPED, Silence, micro_config, stop_before
from spec_tests.package.processes.forked import in_two

CPU = torch.device("cpu")
ROWS = ("train.batch_size=4", "optim.max_norm=0.5")
VARIED = (
    "model.memory.qk_projection.kind='frobenius_tanh'",
    "model.memory.rule='atlas'",
    "model.memory.omega_window=3",
    "model.gate.floor=0.1",
    "model.gate.floor_start=0.1",
    "optim.polarisation_start=0.3",
    "optim.polarisation_end=0.3",
    "optim.average=0.9",
    "optim.memory_rate=0.5",
    "model.dropout.residual=0.4",
)
"""Everything that the memory can carry, the monitor can measure and training can leave out."""
CUTS = {
    "ddp": ("train.parallel='ddp'",),
    "ddp in two parts": ("train.parallel='ddp'", "train.micro_batches=2"),
    "fsdp": ("train.parallel='fsdp'",),
    "fsdp in two parts": ("train.parallel='fsdp'", "train.micro_batches=2"),
}
"""How two processes share what one process does alone."""
COGNATE = {
    "ddp": ("optim.name='mugrokfast'", "optim.mugrokfast.qk_clip=0.001", "data.curriculum.judged=1"),
    "fsdp": ("train.parallel='fsdp'", "data.curriculum.judged=0"),
}
"""The other family over three stages of a curriculum, each way with what only it can do."""
STEPS = 3


def examine(config: RunConfig, world: World) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """Return gradients, weights and memory state of all rows after STEPS steps, and the numbers of each step."""
    source, run = open_source(config), new_run(config, CPU, world)
    found: dict[str, torch.Tensor] = {}
    numbers: list[object] = []
    for step in range(STEPS):
        batch = source.batch(step)
        # Rows that count different numbers of targets: the mean of all is no mean of means.
        batch.targets[0, :20] = batch.targets[2, 3] = IGNORED
        if step == 1:
            # A document begins in one row alone, so the other process does not use the initial memory; at the next
            # step none does.
            batch.reset[3, 5] = True
        result = train_step(run.network, run.optimiser, batch, run.state, step, config, world)
        if step < 2:
            named = [(n, p.grad) for n, p in run.model.named_parameters() if p.grad is not None]
            found |= {f"gradient {step}.{n}": whole(gradient).clone() for n, gradient in named}
        run.state = result.output.state
        layers = merge(measure_layers(result.output, config.model), world)
        numbers.append({"loss": result.loss, "grad_norm": result.grad_norm, "layers": layers})
    found |= {f"weight.{n}": whole(p.detach()) for n, p in run.model.named_parameters()}
    found |= {f"state.{n}": whole(t) for n, t in across(run.state.to_tensors(), world, CPU).items()}
    validation = evaluate(run.model, task_of(config.data), source, 2, "fp32", STEPS, world)
    return found, {"steps": numbers, "validation": validation}


def cognate_config(directory: Path, way: str, *overrides: str) -> RunConfig:
    """Return the run of the family `cognate` on the sets in a directory, in one of the ways of COGNATE."""
    return curriculum_config(directory / "sets", *ROWS, *COGNATE[way], *overrides)


def start_together(
    config: RunConfig, path: Path, world: World, begin: Path | None = None, stop: Callable[[], bool] = lambda: False
) -> int:
    """Train in `path` from the beginning or on from a checkpoint; return the step reached."""
    checkpoint = find_checkpoint(begin) if begin else None
    with world.together():
        ready = get_ready(config, RunDirectory(path), checkpoint, over_unsaved=False, world=world)
    return train(ready, Admission(None, SKIPPED), Silence(), stop).step


def reshard(directory: Path, world: World) -> None:
    """Go on from checkpoints of one process, of copies and of shards, each in every other way."""
    configs = {name: micro_config(*ROWS, *VARIED, f"train.parallel='{name}'") for name in ("ddp", "fsdp")}
    for name, config in configs.items():
        start_together(config, directory / name, world)
        start_together(config, directory / f"one-{name}", world, directory / "one/checkpoints/step-00000003")
    for before, after in (("ddp", "fsdp"), ("fsdp", "ddp")):
        begin = directory / before / "checkpoints/step-00000003"
        start_together(configs[after], directory / f"{before}-{after}", world, begin)


def leave_alike(directory: Path, world: World) -> dict[str, object]:
    """Return what each process says after the other alone met an error, a stop request or a number that overflows."""
    found: dict[str, object] = {}
    try:
        with world.together():
            if world.rank == 1:
                raise FileNotFoundError(2, "No such file", "missing.txt")
    except CommonError as error:
        found["error"] = str(error)
    try:
        start_together(micro_config("train.batch_size=3"), directory / "odd", world)
    except UserError as error:
        found["rows"] = str(error)
    try:
        start_together(micro_config("train.parallel='fsdp'", "optim.name='muon'"), directory / "muon", world)
    except UserError as error:
        found["muon"] = str(error)
    asked = stop_before(3) if world.rank == 1 else lambda: False
    found["stopped"] = start_together(micro_config(*ROWS), directory / "stopped", world, stop=asked)
    for parallel in ("ddp", "fsdp"):
        found[f"non-finite {parallel}"] = overflow(micro_config(*ROWS, f"train.parallel='{parallel}'"), world)
    found["killed"] = killed(directory / "killed", world)
    return found


def overflow(config: RunConfig, world: World) -> str:
    """Return how a step ends in which the loss of the second process alone overflows."""
    run, batch = new_run(config, CPU, world), open_source(config).batch(0)
    state = run.state.map(lambda tensor: tensor)
    if world.rank == 1:
        batch.reset[:] = False
        state = state.map(lambda t: t + torch.inf if t.is_floating_point() else t + 1)
    try:
        train_step(run.network, run.optimiser, batch, state, 0, config, world)
    except NonFiniteError as error:
        return str(error)
    return "no error"


def killed(path: Path, world: World) -> str:
    """Return how a run ends whose switch fires on a number of the second process alone."""
    config = micro_config(*ROWS, "kill_switches.newton_schulz_patience=1")
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("atlas_ref.training.loop.measure_layers", lambda *_: tilted(world))
            start_together(config, path, world)
    except KilledError as error:
        return str(error).split(". ")[0]
    return "no error"


def tilted(world: World) -> tuple[dict[str, float], ...]:
    """Return measurements of two layers; in the second process Newton-Schulz has left its neighbourhood in one."""
    return ({"newton_schulz_error": 0.5}, {"newton_schulz_error": 9.0 if world.rank == 1 else 0.5})


def check_all(directory: Path) -> None:
    """Make every check and write its findings, the tensors by the first process and the words by both."""
    torch.set_num_threads(1)
    with processes() as world:
        for name, overrides in CUTS.items():
            tensors, numbers = examine(micro_config(*ROWS, *VARIED, *overrides), world)
            if world.main:
                whole_ones = {key: tensor.clone().contiguous() for key, tensor in tensors.items()}
                save_file(whole_ones, directory / f"{name}.safetensors")
                (directory / f"{name}.json").write_text(json.dumps(numbers))
        reshard(directory, world)
        start_together(cognate_config(directory, "ddp"), directory / "cognate-ddp", world)
        # On from the last step of a stage.
        begin = directory / "cognate-fsdp-alone/checkpoints/step-00000002"
        start_together(cognate_config(directory, "fsdp"), directory / "cognate-fsdp", world, begin)
        (directory / f"alike-{world.rank}.json").write_text(json.dumps(leave_alike(directory, world)))


def run_and_kill(step: int, arguments: list[str]) -> None:
    """Run `atlas`; at the first try the second process is killed where it is asked before `step` (1-based) to stop."""
    asked = iter(range(1, 10**6))
    ask = StopRequest.__call__

    def die(self: StopRequest) -> bool:
        if next(asked) == step and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        return ask(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StopRequest, "__call__", die)
        sys.argv = ["atlas", *arguments]
        atlas()


if __name__ == "__main__":
    if sys.argv[1] == "--kill":
        run_and_kill(int(sys.argv[2]), sys.argv[3:])
    else:
        sys.exit(in_two(lambda: check_all(Path(sys.argv[1])), agent=True))
