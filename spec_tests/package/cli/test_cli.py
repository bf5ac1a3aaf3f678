"""The command line: what it prints, where it writes, and how it ends when something is wrong.

Every test names the fault that was put into the program by hand and that it caught.
"""

import io
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor

import atlas_ref
from atlas_ref.config import load_config, preset_names, to_toml
from atlas_ref.storage.checkpoint import find_checkpoint, saved_steps
from atlas_ref.tasks.language import token_losses
from cli.progress import BarReporter, PlainReporter
from spec_tests.package.micro.command import Atlas, Ended
from spec_tests.package.micro.runs import (
    RECALL,
    UNEXAMINED,
    go_on,
    metric_lines,
    micro_config,
    saved_bytes,
    start,
    stop_before,
    without_timing,
)

ROOT = Path(atlas_ref.__file__).parents[1]
FIRST_WORD = "Ctrl-C: the step in progress is finished and saved; then the exit code is "


@pytest.fixture(scope="module")
def micro(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small config as a file."""
    path = tmp_path_factory.mktemp("config") / "micro.toml"
    path.write_text(to_toml(micro_config()))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    path = tmp_path_factory.mktemp("trained") / "run"
    start(micro_config(), path)
    return path


def in_a_process(*arguments: str) -> "subprocess.Popen[str]":
    """Start Python with the project importable."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize(
    "command",
    [[], ["preflight"], ["train"], ["eval"], ["generate"], ["plot"], ["runs"], ["config"], ["config", "list"]],
)
def test_help_comes_without_importing_torch(command: list[str]) -> None:
    """Kills: an import of torch, of the config or of training at the top of any module of the command line."""
    probe = (
        "import sys, cli.main\n"
        f"sys.argv = ['atlas', *{command!r}, '--help']\n"
        "try:\n    cli.main.main()\n"
        "finally:\n    print(sorted({'torch', 'numpy', 'safetensors', 'atlas_ref.config'} & set(sys.modules)))"
    )
    with in_a_process("-c", probe) as process:
        out, err = process.communicate()
    assert err == ""
    assert "Usage:" in out
    assert out.splitlines()[-1] == "[]"


def test_the_version_is_that_of_the_package(atlas: Atlas) -> None:
    """Kills: a second copy of the version."""
    assert atlas("--version") == Ended(0, f"atlas {atlas_ref.__version__}\n", "")


def test_ctrl_c_ends_the_step_saves_and_exits_130_and_the_run_can_go_on(micro: Path, tmp_path: Path) -> None:
    """Kills: SIGINT left to Python (no checkpoint); exit code 0 or 1; a resumed run that differs from a whole one."""
    path = tmp_path / "run"
    # Far more steps than are made before the signal arrives, and no save but the one that the signal asks for.
    overrides = [f"train.{name}=100000" for name in ("max_steps", "save_interval", "eval_interval")]
    options = [word for override in overrides for word in ("--set", override)]
    with in_a_process(
        "-m", "cli.main", "train", "--config", str(micro), "--out", str(path), *UNEXAMINED, *options
    ) as process:
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


BAD = {
    "no such command": ["tain"],
    "no such option": ["train", "--steps", "3"],
    "steps below one": ["train", "--max-steps", "0"],
    "steps not a number": ["train", "--max-steps", "many"],
    "no such device": ["train", "--device", "tpu"],
    "no such preset": ["train", "--config", "tyni"],
    "no such config file": ["train", "--config", "nowhere.toml"],
    "a folder for a config": ["train", "--config", "./"],
    "no such field": ["train", "--set", "optim.lr=1"],
    "a value out of range": ["train", "--set", "optim.learning_rate=-1"],
    "a value of the wrong type": ["train", "--set", "model.n_layers=two"],
    "an override without value": ["train", "--set", "model.n_layers"],
    "no such data": ["train", "--data", "nowhere.txt"],
    "no such checkpoint": ["train", "--resume", "nowhere"],
    "eval of nothing": ["eval", "nowhere"],
    "eval without run": ["eval"],
    "generate from nothing": ["generate", "nowhere"],
    "config of nothing": ["config", "show", "nowhere"],
}


@pytest.mark.parametrize("arguments", BAD.values(), ids=[name.replace(" ", "-") for name in BAD])
def test_a_mistake_gives_one_clear_line_exit_code_2_and_no_files(
    arguments: list[str], atlas: Atlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: UserError or OSError not caught (a traceback); a run directory made before the options are known good."""
    monkeypatch.chdir(tmp_path)
    ended = atlas(*arguments)

    assert ended.code == 2
    assert "Traceback" not in ended.err
    errors = [line for line in ended.err.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert ended.err.splitlines()[-1] == errors[0]
    assert len(errors[0]) > len("Error: ") + 10
    assert list(tmp_path.iterdir()) == []


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
    calls = iter(range(1, 100))

    def broken(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        total, count = token_losses(logits, targets)
        return (total * torch.nan if next(calls) == 5 else total), count

    monkeypatch.setattr("atlas_ref.tasks.language.token_losses", broken)
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


def test_eval_repeats_the_validation_of_training(atlas: Atlas, trained: Path) -> None:
    """Kills: eval of another checkpoint than the newest; --batches that is not read; a checkpoint taken for its run."""
    ended = atlas("eval", trained, "--json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert found["step"] == 6
    assert found["loss"] == metric_lines(trained)[-1]["val/loss"]
    fewer = json.loads(atlas("eval", trained, "--json", "--batches", "1").out)
    assert fewer["tokens"] < found["tokens"]
    older = json.loads(atlas("eval", trained / "checkpoints" / "step-00000003", "--json").out)
    assert (older["step"], older["loss"]) == (3, metric_lines(trained)[2]["val/loss"])
    assert atlas("eval", trained).out.startswith(f"step 6: loss {found['loss']:.4f}, ")


def test_eval_reads_other_text_with_the_tokenizer_of_the_run(atlas: Atlas, tmp_path: Path) -> None:
    """Kills: a tokenizer trained anew on the other text, whose tokens mean something else."""
    config = micro_config("data.tokenizer='bpe'", "data.bpe_vocab_size=300", "model.vocab_size=300")
    start(config, tmp_path / "run")
    other = tmp_path / "other.txt"
    other.write_text("zyx wvu tsr qpo nml kji hgf edc ba " * 60)
    ended = atlas("eval", tmp_path / "run", "--data", other, "--json")

    assert ended.code == 0, ended.err
    assert 3.0 < json.loads(ended.out)["loss"] < 9.0


def test_generate_prints_the_prompt_and_a_text_that_its_seed_decides(atlas: Atlas, trained: Path) -> None:
    """Kills: a prompt that is not printed or not read; a seed that is not read; fewer tokens than asked for."""
    options = ("--prompt", "HAMLET", "--tokens", "40", "--top-k", "20", "--temperature", "0.9")
    first, again = (atlas("generate", trained, *options, "--seed", "1") for _ in range(2))
    other = atlas("generate", trained, *options, "--seed", "2")

    assert first.code == 0, first.err
    assert first == again
    assert first.out.startswith("HAMLET")
    assert first.out != other.out
    assert 6 < len(first.out) <= 6 + 40 + 1
    assert atlas("generate", trained, "--tokens", "5", "--prompt", "").code == 2


def test_generate_refuses_a_model_that_knows_no_text(atlas: Atlas, tmp_path: Path) -> None:
    """Kills: a traceback from a tokenizer that is None."""
    start(micro_config(*RECALL, "train.max_steps=2"), tmp_path / "run")
    ended = atlas("generate", tmp_path / "run")
    assert (ended.code, "was trained on recall, which is not text" in ended.err) == (2, True)


def test_config_show_prints_a_complete_config_that_can_be_run(atlas: Atlas, tmp_path: Path) -> None:
    """Kills: overrides that are not applied; a field that is not printed."""
    ended = atlas("config", "show", "shakespeare-10m", "--set", "train.seed=7")
    assert ended.code == 0, ended.err
    expected = load_config("shakespeare-10m", ["train.seed=7"])
    assert tomllib.loads(ended.out) == expected.model_dump()
    file = tmp_path / "shown.toml"
    file.write_text(ended.out)
    assert load_config(str(file)) == expected


def test_config_list_names_every_preset_with_its_size(atlas: Atlas) -> None:
    """Kills: a preset left out; a size that is not that of the model."""
    ended = atlas("config", "list")
    assert ended.code == 0, ended.err
    rows = {line.split()[0]: line for line in ended.out.splitlines()[1:]}
    assert set(rows) == set(preset_names())
    assert "10.4 M" in rows["shakespeare-10m"]
    assert "0.6 M" in rows["tiny"]
