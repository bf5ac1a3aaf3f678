"""Several processes train the model that one process trains: two of them on the CPU, through gloo.

One start of two processes makes all checks of `distributed_worker`; another is killed in the middle. What they wrote is
compared here with one process on the same global batches. Fp32 sums over rows change their order where a batch is cut,
so gradients agree to 1e-6 of their norm; whether a sum is one of all rows shows at once, and at every step.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from atlas_ref.errors import UserError
from atlas_ref.processes.distributed import ALONE
from atlas_ref.storage.checkpoint import META, MODEL, OPTIMISER, STATE, find_checkpoint, saved_steps
from spec_tests.package.micro.command import in_this_process
from spec_tests.package.micro.curriculum import write_sets
from spec_tests.package.micro.runs import (
    UNEXAMINED,
    go_on,
    metric_lines,
    micro_config,
    micro_file,
    start,
    stop_before,
    without_timing,
)
from spec_tests.package.processes.distributed_worker import (
    COGNATE,
    CUTS,
    ROWS,
    STEPS,
    VARIED,
    cognate_config,
    examine,
)
from spec_tests.package.processes.forked import run_worker
from spec_tests.package.warm.start import warm_python

RELATIVE = 1e-6
CONFIG = micro_config(*ROWS, *VARIED)


def torchrun(*arguments: object, restarts: int) -> None:
    """Run the worker in two processes and wait for them."""
    launcher = (warm_python(), "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    command = [*launcher, f"--max-restarts={restarts}", "-m", "spec_tests.package.processes.distributed_worker"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    ended = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, env=environment, timeout=120
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes wrote; `one` is the run of one process that they went on from, `whole` all of it."""
    directory = tmp_path_factory.mktemp("found")
    torch.set_num_threads(1)
    start(CONFIG, directory / "whole")
    start(CONFIG, directory / "one", stop_before(4))
    write_sets(directory / "sets")
    for way in COGNATE:
        start(cognate_config(directory, way), directory / f"cognate-{way}-alone")
    ended = run_worker("distributed_worker", directory)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return directory


@pytest.fixture(scope="module")
def alone() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Gradients, weights, states and numbers of one process."""
    tensors, numbers = examine(CONFIG, ALONE)
    words: dict[str, Any] = json.loads(json.dumps(numbers))
    return tensors, words


def distances(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> dict[str, float]:
    """Return, for each group of tensors such as `gradient 0`, the distance of all of them relative to their norm."""
    assert expected.keys() == found.keys()
    squares: dict[str, tuple[float, float]] = {}
    for name, tensor in expected.items():
        group = name.split(".")[0]
        off, size = squares.get(group, (0.0, 0.0))
        difference = (tensor.double() - found[name].double()).square().sum().item()
        squares[group] = off + difference, size + tensor.double().square().sum().item()
    return {group: (off / size) ** 0.5 for group, (off, size) in squares.items()}


@pytest.mark.parametrize("cut", CUTS)
def test_two_processes_have_the_gradients_weights_and_state_of_one(
    cut: str, found: Path, alone: tuple[dict[str, Tensor], dict[str, Any]]
) -> None:
    """Kills: a mean of the processes' own means; gradients added and averaged; rows or their state in another order;
    no gradient exchange in the last micro-batch; clipping by the norm of one shard; a parameter that one process alone
    uses left out or, as FSDP2 does it, a breakdown."""
    off = distances(alone[0], load_file(found / f"{cut}.safetensors"))
    assert set(off) == {"gradient 0", "gradient 1", "weight", "state"}
    assert all(gap < RELATIVE for gap in off.values()), off


@pytest.mark.parametrize("cut", CUTS)
def test_two_processes_measure_what_one_does(
    cut: str, found: Path, alone: tuple[dict[str, Tensor], dict[str, Any]]
) -> None:
    """Kills: a process that reports its own rows; a deviation merged as a mean; validation rows counted twice."""
    numbers = json.loads((found / f"{cut}.json").read_text())
    assert numbers["validation"] == pytest.approx(alone[1]["validation"], rel=RELATIVE)
    assert len(numbers["steps"]) == STEPS
    for expected, step in zip(alone[1]["steps"], numbers["steps"], strict=True):
        assert step["loss"] == pytest.approx(expected["loss"], rel=RELATIVE)
        assert step["grad_norm"] == pytest.approx(expected["grad_norm"], rel=RELATIVE)
        for layer, table in zip(expected["layers"], step["layers"], strict=True):
            assert table == pytest.approx(layer, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("way", ["ddp", "fsdp", "one-ddp", "one-fsdp", "ddp-fsdp", "fsdp-ddp"])
def test_a_run_goes_on_in_any_number_of_processes(way: str, found: Path) -> None:
    """Kills: a checkpoint that holds the rows of one process; moments of the optimiser not restored, or put into other
    shards; a memory state that does not follow its rows; the kill switches' memory lost."""
    assert_same_run(found / "whole", found / way)


@pytest.mark.parametrize("way", COGNATE)
def test_a_curriculum_of_the_other_family_is_that_of_one_process(way: str, found: Path) -> None:
    """Kills: a recursion whose parameters FSDP2 leaves in shards while it is used, as it is no call of a module; heads
    clipped by what one process saw; a stage, or a judgement at the end of an epoch, that is drawn by process.
    """
    assert_same_run(found / f"cognate-{way}-alone", found / f"cognate-{way}")


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_one_process_goes_on_from_shards(parallel: str, found: Path, tmp_path: Path) -> None:
    """Kills: shards read as if the first held all rows; a tensor that is left as it was allocated."""
    begin = find_checkpoint(found / parallel / "checkpoints" / "step-00000003")
    go_on(CONFIG, tmp_path / "run", begin)
    assert_same_run(found / "whole", tmp_path / "run")


def assert_same_run(expected: Path, found: Path) -> None:
    """Every saved tensor and every line of the log agree as far as fp32 lets them after six steps."""
    ours, theirs = find_checkpoint(found), find_checkpoint(expected)
    assert ours.step == theirs.step == 6
    for name in (MODEL, OPTIMISER, STATE):
        off = distances(*({f"all.{key}": x for key, x in run.tensors(name).items()} for run in (theirs, ours)))
        assert off["all"] < 1e-5, (name, off)
    lines, wanted = without_timing(metric_lines(found)), without_timing(metric_lines(expected))
    assert [line["step"] for line in lines] == [line["step"] for line in wanted]
    for line, want in zip(lines, wanted, strict=True):
        assert line == pytest.approx(want, rel=1e-4, abs=1e-6)


def test_processes_stop_alike(found: Path) -> None:
    """Kills: an error, a stop request, an overflow or a kill switch of one process that the other does not hear of,
    and waits; a batch that does not divide; Muon on shards."""
    first, second = (json.loads((found / f"alike-{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert first["error"] == "process 1: missing.txt: No such file"
    assert "it must be a multiple of 2, the number of processes (2) times train.micro_batches (1)" in first["rows"]
    assert 'use train.parallel = "ddp" or optim.name = "adamw"' in first["muon"]
    assert first["stopped"] == 2
    assert list(saved_steps(found / "stopped" / "checkpoints")) == [2]
    assert first["non-finite ddp"] == first["non-finite fsdp"] == "the loss is nan at step 1"
    assert "newton_schulz at step 1: layer 1, newton_schulz_error is 9" in first["killed"]
    assert json.loads((found / "killed" / "kill.json").read_text())["layers"][1]["newton_schulz_error"] == 9.0


def test_shards_hold_data_only(found: Path) -> None:
    """Kills: torch.distributed.checkpoint's default storage, whose .metadata is a pickle."""
    path = found / "fsdp" / "checkpoints" / "step-00000003"
    files = sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())
    assert files == sorted([META, *find_checkpoint(path).files])
    shards = {file.split("/")[0] for file in files if file.endswith(".safetensors")}
    assert shards == {"model", "optimiser", "state"}
    assert len(files) == 7
    for file in files[1:]:
        load_file(path / file)


def test_bad_shards_are_refused_by_name(found: Path, tmp_path: Path) -> None:
    """Kills: a shard that is not verified, one that is missing, and one beside them that meta.json does not know."""
    for number, change in enumerate(("flip", "remove", "add")):
        copy = tmp_path / str(number)
        shutil.copytree(found / "ddp" / "checkpoints" / "step-00000003", copy)
        checkpoint = find_checkpoint(copy)
        shard = next(copy / name for name in sorted(checkpoint.files) if name.startswith("state/"))
        if change == "flip":
            shard.write_bytes(shard.read_bytes()[:-1] + b"?")
        elif change == "remove":
            shard.unlink()
        else:
            shutil.copy(shard, shard.with_name("shard-00003-model-00001-of-00001.safetensors"))
        with pytest.raises(UserError, match=r"state/shard-0000\d-.*(damaged|missing)"):
            checkpoint.tensors(STATE)


def test_a_model_in_shards_is_evaluated_and_speaks(
    found: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kills: shards that only training can read."""
    atlas = in_this_process(monkeypatch, capsys)
    losses = []
    for run in ("whole", "fsdp"):
        ended = atlas("eval", found / run, "--json")
        assert ended.code == 0, ended.err
        losses.append(json.loads(ended.out)["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert atlas("generate", found / "fsdp", "--tokens", 3).code == 0


@pytest.mark.exhaustive
def test_a_killed_process_is_restarted_from_the_last_checkpoint(tmp_path: Path) -> None:
    """Kills: a restart from the beginning; a log with the lost steps twice; a process that never joins again.

    The second process dies of SIGKILL before step 5, torchrun ends the first and starts both again."""
    config, out = micro_file(tmp_path / "config.toml", *ROWS), tmp_path / "restarted"
    torchrun("--kill", 5, "train", "--config", config, *UNEXAMINED, "--out", out, "--resume", "auto", restarts=1)
    start(micro_config(*ROWS), tmp_path / "whole")

    starts = json.loads((out / "env.json").read_text())
    assert [entry["first_step"] for entry in starts] == [1, 4]
    assert_same_run(tmp_path / "whole", out)


@pytest.mark.parametrize(("processes", "code"), [("1", -signal.SIGABRT), ("2", 0)])
def test_several_processes_end_before_the_interpreter_does(processes: str, code: int) -> None:
    """Kills: a thread of gloo that aborts a process whose run is complete; here whatever ends the interpreter aborts.

    One process alone has no such thread and ends as Python programs do."""
    ended = end(atlas("--version"), processes)
    assert ended.returncode == code, ended.stderr
    assert ended.stdout.startswith("atlas ")


def test_several_processes_end_with_the_code_and_the_words_of_the_command() -> None:
    """Kills: an exit code or a message that is lost with the interpreter."""
    ended = end(atlas("config show missing.toml"), processes="2")
    assert ended.returncode == 2
    assert ended.stderr.startswith("Error: ")
    assert "missing.toml" in ended.stderr


def test_several_processes_end_with_every_word_written() -> None:
    """Kills: words that were still in a buffer, dropped with it."""
    words = "print('first', end=''); print('second', end='', file=sys.stderr)"
    ended = end(f"from cli.processes import end_at_once\nwith end_at_once(): {words}", processes="2")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "first", "second")


def atlas(command: str) -> str:
    """Return a program that is one command of `atlas`."""
    return f"sys.argv = ['atlas', *{command.split()}]; from cli.main import main; main()"


def end(program: str, processes: str) -> subprocess.CompletedProcess[str]:
    """Run a program as one of so many processes, in an interpreter that aborts when it is taken down."""
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        [sys.executable, "-c", f"import atexit, os, sys; atexit.register(os.abort)\n{program}"],
        capture_output=True,
        text=True,
        env={**buffered, "WORLD_SIZE": processes},
        timeout=60,
    )
