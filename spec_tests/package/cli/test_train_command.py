"""`atlas train`: where it writes, how it goes on, and what it prints.

Every test names the fault that was put into the program by hand and that it caught.
"""

import io
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor

from atlas_ref.config import load_config
from atlas_ref.data.batch import Batch
from atlas_ref.models.family import Output
from atlas_ref.storage.checkpoint import find_checkpoint, saved_steps
from atlas_ref.tasks.language import LanguageModelling
from cli.progress import BarReporter, PlainReporter
from spec_tests.package.micro.command import Atlas
from spec_tests.package.micro.process import in_a_process
from spec_tests.package.micro.runs import (
    UNEXAMINED,
    go_on,
    metric_lines,
    micro_config,
    saved_bytes,
    start,
    stop_before,
    without_timing,
)
from spec_tests.package.warm.start import warm_python

FIRST_WORD = "Ctrl-C: the step in progress is finished and saved; then the exit code is "


def test_ctrl_c_ends_the_step_saves_and_exits_130_and_the_run_can_go_on(micro: Path, tmp_path: Path) -> None:
    """Kills: SIGINT left to Python (no checkpoint); exit code 0 or 1; a resumed run that differs from a whole one."""
    path = tmp_path / "run"
    # Far more steps than are made before the signal arrives, and no save but the one that the signal asks for.
    overrides = [f"train.{name}=100000" for name in ("max_steps", "save_interval", "eval_interval")]
    options = [*UNEXAMINED, *(word for override in overrides for word in ("--set", override))]
    command = ["-m", "cli.main", "train", "--config", str(micro), "--out", str(path), *options]
    with in_a_process(*command, python=warm_python()) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if line.startswith("step 1/"))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()

    assert (process.returncode, err) == (130, f"{FIRST_WORD}130\n")
    (reached,) = saved_steps(path / "checkpoints")
    assert f"interrupted after step {reached}; go on with: atlas train --resume auto --out {path}\n" in out
    config = micro_config(*overrides)
    go_on(config, path, stop=stop_before(3))
    start(config, tmp_path / "whole", stop_before(reached + 3))
    assert saved_bytes(path) == saved_bytes(tmp_path / "whole")
    assert without_timing(metric_lines(path)) == without_timing(metric_lines(tmp_path / "whole"))


def test_a_file_in_place_of_the_run_directory_is_named(atlas: Atlas, micro: Path, tmp_path: Path) -> None:
    """Kills: an OSError that becomes a traceback; a run that goes into a directory of something else."""
    file = tmp_path / "file"
    file.write_text("mine")
    inside = atlas("train", "--config", micro, "--out", file / "run")
    assert (inside.code, "Traceback" in inside.err, str(file) in inside.err) == (2, False, True)
    instead = atlas("train", "--config", micro, "--out", file)
    assert (instead.code, str(file) in instead.err) == (2, True)
    beside = atlas("train", "--config", micro, "--out", tmp_path)
    assert (beside.code, beside.err) == (
        2,
        f"Error: {tmp_path}: holds file, which no run wrote; the run directory must be new or empty.\n",
    )
    assert file.read_text() == "mine"


def full_gpu() -> None:
    raise torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 139 GiB"
    )


def gpu_of_others() -> None:
    raise RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported")


@pytest.mark.parametrize(
    ("asks", "says"),
    [
        (
            lambda: torch.empty(10**15),
            "the memory of this machine is not enough (4000000000000000 bytes more were asked for); ",
        ),
        (lambda: np.empty(10**17), "the memory of this machine is not enough (711. PiB more were asked for); "),
        (lambda: bytearray(10**17), "the memory of this machine is not enough; "),
        (full_gpu, "the memory of the GPU is not enough (20.00 MiB more were asked for); "),
        (gpu_of_others, "the memory of the GPU is not enough; "),
    ],
    ids=["torch", "numpy", "python", "gpu", "gpu of others"],
)
def test_memory_that_is_short_is_one_sentence_and_what_was_saved_stays(
    asks: Callable[[], object], says: str, atlas: Atlas, micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a traceback where a model or a batch is too large; another place, or another amount, than that of the
    error; a checkpoint that goes with it; a run that cannot be gone on with."""
    arguments = ("train", *UNEXAMINED, "--config", micro, "--out", tmp_path / "run")
    first = atlas(*arguments, "--max-steps", "3")
    assert first.code == 0, first.err
    with monkeypatch.context() as patched:
        patched.setattr("atlas_ref.training.loop.train_step", lambda *given: asks())
        ended = atlas(*arguments, "--max-steps", "4", "--resume", "auto")
    assert (ended.code, "Traceback" in ended.err) == (2, False)
    (error,) = [line for line in ended.err.splitlines() if line.startswith("Error: ")]
    assert error.startswith(f"Error: {says}less is needed by more parts of a batch (train.micro_batches)")
    assert find_checkpoint(tmp_path / "run").step == 3
    assert atlas(*arguments, "--max-steps", "4", "--resume", "auto").code == 0


def test_a_fault_of_the_program_is_no_shortage_of_memory(
    atlas: Atlas, micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: any RuntimeError told as memory that is short."""

    def broken(*given: object) -> None:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr("atlas_ref.training.loop.train_step", broken)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        atlas("train", *UNEXAMINED, "--config", micro, "--out", tmp_path / "run")


def test_a_run_is_never_overwritten_and_a_default_directory_is_numbered(
    atlas: Atlas, micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a fixed default directory; --resume auto that starts a new run beside the one it should go on with."""
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert atlas("train", *UNEXAMINED, "--config", micro, "--max-steps", "2").code == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["micro-0", "micro-0-2"]
    refused = atlas("train", "--config", micro, "--out", "runs/micro-0")
    assert (refused.code, "--resume auto" in refused.err) == (2, True)
    resumed = atlas("train", "--resume", "auto", "--config", micro, "--max-steps", "3")
    assert resumed.code == 0, resumed.err
    assert find_checkpoint(tmp_path / "runs" / "micro-0-2").step == 3
    assert find_checkpoint(tmp_path / "runs" / "micro-0").step == 2


def test_resume_auto_without_checkpoint_starts_from_the_beginning_and_says_so(
    atlas: Atlas, micro: Path, tmp_path: Path
) -> None:
    """Kills: an error for a run that was stopped before its first save; its log kept, or lost without --resume auto."""
    path = tmp_path / "run"
    start(micro_config(), path, stop=lambda: True)
    (path / "metrics.jsonl").write_text('{"step": 1, "train/loss": 9.0}\n')
    options = (*UNEXAMINED, "--config", micro, "--out", path)
    assert "already holds a run" in atlas("train", *options).err
    ended = atlas("train", *options, "--resume", "auto", "--max-steps", "2")

    assert ended.code == 0, ended.err
    assert f"{path} holds no checkpoint: starting from the beginning" in ended.out
    assert [line["step"] for line in metric_lines(path)] == [1, 2]


def test_a_run_that_is_resumed_by_path_needs_no_config(atlas: Atlas, trained: Path, tmp_path: Path) -> None:
    """Kills: --resume PATH that falls back to the preset; that loses overrides; that goes on in another place."""
    older = trained / "checkpoints" / "step-00000003"
    ended = atlas("train", "--resume", older, "--out", tmp_path / "branch", "--set", "train.log_interval=1")
    assert ended.code == 0, ended.err
    assert find_checkpoint(tmp_path / "branch").config == micro_config("train.log_interval=1")
    assert atlas("train", "--resume", tmp_path / "branch", "--max-steps", "7").code == 0
    assert find_checkpoint(tmp_path / "branch").step == 7
    changed = atlas("train", "--resume", trained, "--seed", "4")
    assert changed.code == 2
    assert "cannot change train.seed from 0 to 4" in changed.err


def test_a_finished_run_is_not_trained_again(atlas: Atlas, trained: Path) -> None:
    """Kills: a last step made twice; a shorter max_steps that is accepted and written over the longer one."""
    before = saved_bytes(trained)
    ended = atlas("train", "--resume", trained)
    assert (ended.code, "nothing is left to train" in ended.out) == (0, True)
    assert "done: 6 steps" in ended.out
    shorter = atlas("train", "--resume", trained, "--max-steps", "5")
    assert (shorter.code, "is past train.max_steps, which is 5" in shorter.err) == (2, True)
    assert saved_bytes(trained) == before
    assert load_config(str(trained / "config.toml")) == micro_config()


def test_a_loss_that_is_not_finite_ends_with_exit_code_4_and_keeps_the_checkpoints(
    atlas: Atlas, micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: exit code 1 with a traceback; a checkpoint of the broken step; an error that does not say which step."""
    calls, loss = iter(range(1, 100)), LanguageModelling.loss

    def broken(self: LanguageModelling, output: Output, batch: Batch) -> Tensor:
        return loss(self, output, batch) * (torch.nan if next(calls) == 5 else 1.0)

    monkeypatch.setattr(LanguageModelling, "loss", broken)
    ended = atlas("train", *UNEXAMINED, "--config", micro, "--out", tmp_path / "run", "--set", "train.save_interval=2")

    assert ended.code == 4
    (line,) = ended.err.splitlines()
    assert line.startswith("Error: kill switch non_finite at step 5: the loss is not finite. Likely cause: ")
    good = tmp_path / "run" / "checkpoints" / "step-00000004"
    assert f"atlas train --resume {good}. The report is {tmp_path / 'run' / 'kill.json'}." in line
    # Step 3 is saved because its validation is the best so far.
    assert list(saved_steps(tmp_path / "run" / "checkpoints")) == [2, 3, 4]


def test_named_options_reach_the_config(atlas: Atlas, micro: Path, tmp_path: Path) -> None:
    """Kills: an option that nothing reads; a relative data path that is lost when the run goes on elsewhere."""
    text = tmp_path / "text.txt"
    text.write_text("to be or not to be that is the question " * 40)
    path = tmp_path / "run"
    ended = atlas(
        *("train", *UNEXAMINED, "--config", micro, "--out", path, "--max-steps", "3", "--seed", "5", "--device", "cpu"),
        *("--threads", "1", "--precision", "fp32", "--data", os.path.relpath(text), "--disable-memory"),
        *("--set", "train.log_interval=1", "--set", "data.validation_fraction=0.3"),
    )
    assert ended.code == 0, ended.err
    config = load_config(str(path / "config.toml"))
    assert (config.train.max_steps, config.train.seed, config.train.log_interval) == (3, 5, 1)
    assert (config.data.source, config.data.path) == ("path", str(text))
    assert config.model.disable_memory


def test_fewer_steps_than_the_warm_up_shorten_it_and_say_so(atlas: Atlas, micro: Path, tmp_path: Path) -> None:
    """Kills: a first try with --max-steps 1 that fails with a contradiction the user did not write."""
    ended = atlas("train", *UNEXAMINED, "--config", micro, "--out", tmp_path / "run", "--max-steps", "1")
    assert ended.code == 0, ended.err
    assert "optim.warmup_steps is lowered from 2 to 1" in ended.out


def test_plain_output_has_a_line_for_each_logged_step_and_no_control_codes(
    atlas: Atlas, micro: Path, tmp_path: Path
) -> None:
    """Kills: a progress bar written to a pipe; a line without loss, speed or time left."""
    ended = atlas("train", *UNEXAMINED, "--config", micro, "--out", tmp_path / "run")
    lines = [line for line in ended.out.splitlines() if line.startswith("step ")]

    assert "\x1b" not in ended.out
    assert [line.split()[1] for line in lines] == ["1/6", "2/6", "3/6", "4/6", "6/6"]
    assert re.fullmatch(r"step 2/6  loss \d\.\d{4}  [\d,]+ tokens/s  0:\d\d:\d\d left", lines[1])
    assert re.fullmatch(r"step 3/6  validation \d\.\d{4}  0:\d\d:\d\d left", lines[2])
    done, way_on = ended.out.splitlines()[-2:]
    assert done.startswith("done: 6 steps in ")
    assert way_on == f"sample from it with: atlas generate {tmp_path / 'run'}"


def test_a_terminal_gets_a_bar_with_loss_speed_and_time_left_and_no_colour_is_honoured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Kills: a bar without its numbers; colours in spite of NO_COLOR."""
    drawn = {}
    for no_colour in (False, True):
        monkeypatch.setenv("NO_COLOR", "1") if no_colour else monkeypatch.delenv("NO_COLOR", raising=False)
        screen = io.StringIO()
        console = Console(file=screen, force_terminal=True, width=120, color_system="standard")
        with BarReporter(console, 0, 6) as reporter:
            reporter.on_step(3, 1.234, 5678.0)
            reporter.on_metrics(3, {"val/loss": 2.5})
        drawn[no_colour] = screen.getvalue()
    colours = re.compile(r"\x1b\[[\d;]*3\dm")

    assert colours.search(drawn[False])
    assert not colours.search(drawn[True])
    text = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", drawn[True])
    assert "3/6" in text
    assert "loss 1.234" in text
    assert "5,678 tokens/s" in text
    assert "left" in text
    assert "step 3/6  validation 2.5000" in text


def test_the_time_left_counts_from_the_resumed_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: an estimate that takes the steps of an earlier process for steps of this one."""
    clock = iter([100.0, 110.0])
    monkeypatch.setattr("cli.progress.time.monotonic", lambda: next(clock))
    screen = io.StringIO()
    reporter = PlainReporter(Console(file=screen), first_step=90, max_steps=100)
    reporter.on_metrics(91, {"train/loss": 1.0})
    assert "0:01:30 left" in screen.getvalue()
