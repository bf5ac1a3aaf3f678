"""`atlas runs` and `atlas plot`: what they say of runs is what the files of the runs say.

Every test names the fault that was put into the program by hand and that it caught.
"""

import fcntl
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atlas_ref.models.atlas import AtlasModel
from atlas_ref.storage.run_directory import RunDirectory
from cli import run_records
from spec_tests.package.cli.made_runs import killed, made
from spec_tests.package.micro.command import Atlas
from spec_tests.package.micro.process import in_a_process
from spec_tests.package.micro.runs import SKIPPED, metric_lines, micro_config, start, stop_before


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run and, one level deeper, one that was stopped after step 3."""
    root = tmp_path_factory.mktemp("runs")
    start(micro_config(), root / "whole")
    start(micro_config("train.seed=5", "model.memory.rule='titans'"), root / "study" / "stopped", stop_before(4))
    return root


def listed(atlas: Atlas, *arguments: object) -> list[dict[str, Any]]:
    """Return what `atlas runs --json` prints."""
    ended = atlas("runs", *arguments, "--json")
    assert (ended.code, ended.err) == (0, "")
    rows: list[dict[str, Any]] = json.loads(ended.out)
    return rows


def test_a_row_says_what_the_files_of_the_run_say(real: Path, atlas: Atlas) -> None:
    """Kills: first for last loss; the best of the training losses; parameters of another run, or unknown while a run
    has no summary; runs in folders not found.
    """
    stopped, whole = listed(atlas, real)
    assert (stopped["run"], whole["run"]) == ("study/stopped", "whole")
    for row, config in ((whole, micro_config()), (stopped, micro_config("model.memory.rule='titans'"))):
        lines = metric_lines(real / row["run"])
        validations = [(line["val/loss"], line["step"]) for line in lines if "val/loss" in line]
        speeds = [line["train/tokens_per_second"] for line in lines if "train/loss" in line]
        parameters = sum(p.numel() for p in AtlasModel(config.model, seed=0).parameters())
        assert row["parameters"] == parameters
        assert row["train_loss"] == [line["train/loss"] for line in lines if "train/loss" in line][-1]
        assert row["val_loss"] == validations[-1][0]
        assert (row["best_val_loss"], row["best_val_step"]) == min(validations)
        assert row["tokens_per_second"] == pytest.approx(np.median(speeds))
        assert row["preflight"] == f'skipped "{SKIPPED}"'
    assert (whole["status"], whole["steps"], whole["max_steps"], whole["seed"]) == ("finished", 6, 6, 0)
    assert (stopped["status"], stopped["steps"], stopped["max_steps"], stopped["seed"]) == ("interrupted", 3, 6, 5)
    assert (whole["memory"], stopped["memory"]) == ("omega matrix", "titans matrix")


def test_the_table_shows_every_run_on_its_line(real: Path, atlas: Atlas) -> None:
    """Kills: a column that is cut off; a reason in brackets that is taken for markup."""
    root = real.parent / f"{real.name}-table"
    shutil.copytree(real / "whole", root / "one")
    (root / "one" / "env.json").write_text(json.dumps([{"preflight_skipped": "[bold] reason"}]))
    ended = atlas("runs", root)
    (text,) = (each for each in ended.out.splitlines() if "one" in each)
    row = listed(atlas, root)[0]
    for shown in ("finished", "6/6", f"{row['parameters']:,}", f"{row['val_loss']:.4f}", 'skipped "[bold] reason"'):
        assert shown in text


def test_the_status_tells_killed_from_running_from_extended_runs(tmp_path: Path, atlas: Atlas) -> None:
    """Kills: a kill that is not shown; the last switch for the first; a run that goes on, past an old summary, called
    finished; a lock file that nobody holds taken for a run; what lies inside a run listed as one.
    """
    killed(made(tmp_path / "a-killed", "model.disable_memory=true"))
    made(tmp_path / "a-killed" / "wandb" / "copy")
    for name in ("b-extended", "c-running"):
        made(tmp_path / name, "train.max_steps=8")
        (tmp_path / name / "summary.json").write_text(json.dumps({"steps": 6, "parameters": 77}))
        (tmp_path / name / ".lock").touch()
    with (tmp_path / "c-running" / ".lock").open("a") as lock:
        fcntl.flock(lock.fileno(), fcntl.LOCK_EX)
        rows = listed(atlas, tmp_path)
    assert [row["status"] for row in rows] == ["killed by loss_spike at step 5", "interrupted", "running"]
    assert [row["memory"] for row in rows] == ["off", "omega matrix", "omega matrix"]
    assert [row["parameters"] for row in rows] == [None, 77, 77]


FAULTS = {
    "config.toml": ("x =", "config.toml: is not TOML"),
    "metrics.jsonl": ('{"step": 1}\nnonsense\n{"step": 3}\n', "metrics.jsonl, line 2: must be a JSON object"),
    "metrics.jsonl ": ("\xff\n", "metrics.jsonl, line 1: must be a JSON object"),
    "summary.json": ("[]", "summary.json: is not a JSON object"),
    "kill.json": ('{"kills": [], "step": 1}', "its files are not those of a run (IndexError"),
    "checkpoints/step-00000001/model.safetensors": (
        "\xff" * 9,
        "checkpoints/step-00000001/model.safetensors: is not a safetensors file",
    ),
    "env.json": ("3", "its files are not those of a run (TypeError"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_damaged_run_is_listed_with_its_fault_beside_the_others(name: str, tmp_path: Path, atlas: Atlas) -> None:
    """Kills: one bad file that hides every run; a fault that does not name the file."""
    made(tmp_path / "good")
    text, fault = FAULTS[name]
    file = made(tmp_path / "bad") / name.strip()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="latin-1")
    bad, good = listed(atlas, tmp_path)
    assert bad["run"] == "bad"
    assert bad["status"].startswith(f"damaged: {fault}")
    assert good["status"] == "interrupted"
    assert atlas("runs", tmp_path).code == 0
    made(tmp_path / "empty").joinpath("config.toml").unlink()
    assert listed(atlas, tmp_path)[1]["status"] == "damaged: config.toml: does not exist."


def test_runs_are_sorted_by_any_column_with_the_unknown_last(tmp_path: Path, atlas: Atlas) -> None:
    """Kills: numbers sorted as text; None compared with a number."""
    for name, steps in (("a", 12), ("b", 4), ("c", 1)):
        made(tmp_path / name, f"train.seed={steps}", steps=steps)
    assert [row["run"] for row in listed(atlas, tmp_path)] == ["a", "b", "c"]
    assert [row["run"] for row in listed(atlas, tmp_path, "--sort", "steps")] == ["c", "b", "a"]
    assert [row["run"] for row in listed(atlas, tmp_path, "--sort", "val_loss")] == ["b", "a", "c"]
    ended = atlas("runs", tmp_path / "nowhere")
    assert (ended.code, ended.err) == (
        2,
        f"Error: {tmp_path / 'nowhere'}: is not a directory; name one that holds runs.\n",
    )


def test_a_comparison_shows_every_field_in_which_two_runs_differ_and_no_other(tmp_path: Path, atlas: Atlas) -> None:
    """Kills: sides swapped; nested tables compared as a whole; a field that only one run has left out."""
    one, two = made(tmp_path / "one"), made(tmp_path / "two", "train.seed=4", "model.memory.gates.step_init=0.25")
    with (two / "config.toml").open("a") as stream:
        stream.write("\n[later]\nfield = 3\n")
    ended = atlas("runs", "--diff", one, two, "--json")
    before = micro_config().model.memory.gates.step_init
    assert json.loads(ended.out) == {
        "model.memory.gates.step_init": [before, 0.25],
        "train.seed": [0, 4],
        "later.field": [None, 3],
    }
    assert "train.seed" in atlas("runs", "--diff", one, two).out
    assert atlas("runs", "--diff", one, one).out == "the two configurations are equal\n"


def test_runs_are_listed_without_importing_torch(real: Path) -> None:
    """Kills: a table that takes seconds, because it loads the model to count its parameters."""
    probe = (
        f"import sys, cli.main\nsys.argv = ['atlas', 'runs', {str(real)!r}]\n"
        "try:\n    cli.main.main()\nfinally:\n    print('torch' in sys.modules)"
    )
    with in_a_process("-c", probe) as process:
        out, err = process.communicate()
    assert (err, out.splitlines()[-1]) == ("", "False")
    assert "whole" in out


def test_the_names_of_files_are_those_of_the_run_directory() -> None:
    """Kills: a file that is renamed in one of two places."""
    directory = RunDirectory(Path("run"))
    mine = ("CONFIG", "METRICS", "SUMMARY", "KILL", "ENVIRONMENT", "CERTIFICATE", "CHECKPOINTS")
    theirs = ("config", "metrics", "summary", "kill", "environment", "preflight", "checkpoints")
    for here, there in zip(mine, theirs, strict=True):
        assert getattr(run_records, here) == getattr(directory, there).name
