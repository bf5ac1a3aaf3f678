"""Starting and going on where no checkpoint is: the run of the directory, or a refusal; never another model.

Every test names the fault that was put into the program by hand, or the behaviour before, that it caught.
"""

import json
import math
import shutil
from pathlib import Path

import pytest

from atlas_ref.config import load_config, to_toml
from atlas_ref.storage.checkpoint import find_checkpoint, saved_steps
from atlas_ref.storage.run_directory import Admission, RunDirectory
from atlas_ref.storage.switch_state import SwitchState
from atlas_ref.training.loop import get_ready, train
from atlas_ref.watching.kill_report import report_kill
from atlas_ref.watching.kill_switches import non_finite
from spec_tests.package.damage.crash_points import announced
from spec_tests.package.micro.command import Atlas
from spec_tests.package.micro.runs import (
    SKIPPED,
    UNEXAMINED,
    Silence,
    metric_lines,
    micro_config,
    saved_bytes,
    start,
    without_timing,
)

SHORT = (
    "model.n_layers=1",
    "data.sequence_length=16",
    "train.max_steps=4",
    "train.save_interval=2",
    "train.eval_interval=2",
    "train.eval_batches=1",
    "train.log_interval=1",
)
CONFIG = micro_config(*SHORT)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps, saved at the second and the last."""
    path = tmp_path_factory.mktemp("whole") / "run"
    start(CONFIG, path)
    return path


@pytest.fixture
def unsaved(tmp_path: Path) -> Path:
    """A run that was stopped before its first checkpoint, with a line in its log."""
    path = tmp_path / "unsaved"
    start(CONFIG, path, stop=lambda: True)
    (path / "metrics.jsonl").write_text('{"step": 1, "train/loss": 9.0}\n')
    return path


def contents(path: Path) -> dict[str, bytes]:
    """Return every file below a directory but the lock."""
    files = (file for file in path.rglob("*") if file.is_file() and file.name != ".lock")
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def go_on_in(atlas: Atlas, path: Path, *options: object) -> str:
    """Go on without any config named, and return what was printed."""
    ended = atlas("train", "--resume", "auto", "--out", path, *UNEXAMINED, *options)
    assert ended.code == 0, ended.err
    return ended.out


def assert_same(path: Path, whole: Path) -> None:
    """Weights, optimiser, state and log are equal but for the clock."""
    assert saved_bytes(path) == saved_bytes(whole)
    assert without_timing(metric_lines(path)) == without_timing(metric_lines(whole))


def test_a_run_without_checkpoint_begins_again_with_its_own_config(atlas: Atlas, unsaved: Path, whole: Path) -> None:
    """Kills: the preset tiny, trained over the run of another model; a log that keeps the lines made before; a start
    that env.json forgets; a kill.json that goes without a word.
    """
    report_kill(RunDirectory(unsaved), 1, [non_finite(SwitchState(), 1, "loss", "the loss", math.nan)], [])
    out = go_on_in(atlas, unsaved)

    assert load_config(str(unsaved / "config.toml")) == CONFIG
    assert_same(unsaved, whole)
    assert f"{unsaved} holds no checkpoint: starting from the beginning\n" in out
    assert f"1 line of {unsaved}/metrics.jsonl is left out" in out
    assert f"{unsaved}/kill.json is dropped: an earlier start was stopped at step 1 by non_finite\n" in out
    starts = json.loads((unsaved / "env.json").read_text())
    assert [(entry["first_step"], entry["checkpoint"]) for entry in starts] == [(1, None), (1, None)]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (["--config", "tiny"], "model."),
        (["--seed", "4"], "train.seed from 0 to 4"),
        (["--set", "model.feed_forward_dim=64"], "model.feed_forward_dim from 48 to 64"),
        (["--disable-memory"], "model.disable_memory from False to True"),
    ],
)
def test_options_that_contradict_the_run_are_refused_by_field(
    atlas: Atlas, unsaved: Path, options: list[str], field: str
) -> None:
    """Kills: the config of the options trained over that of the run."""
    before = contents(unsaved)
    ended = atlas("train", "--resume", "auto", "--out", unsaved, *UNEXAMINED, *options)
    assert ended.code == 2
    assert ended.err.startswith(f"Error: {unsaved}/config.toml: a resumed run cannot change {field}")
    assert contents(unsaved) == before


FOREIGN = {
    "a config of something else": ({"config.toml": 'name = "mine"'}, "config.toml"),
    "a config and a log of something else": ({"config.toml": "a = 1", "metrics.jsonl": "notes"}, "config.toml"),
    "a log alone": ({"metrics.jsonl": '{"step": 1}\n'}, "holds metrics.jsonl, but neither config.toml nor env.json"),
    "an environment of something else": ({"env.json": '[{"name": "mine"}]'}, "env.json"),
    "an environment that is no list": ({"env.json": "{}"}, "env.json"),
    "a run's config with notes for a log": ({"config.toml": to_toml(CONFIG), "metrics.jsonl": "notes"}, "is no log"),
    "a run's config with a table for a log": ({"config.toml": to_toml(CONFIG), "metrics.jsonl": "a,b\n"}, "is no log"),
    "a run's config with another kill.json": ({"config.toml": to_toml(CONFIG), "kill.json": "{}"}, "kill.json"),
    "a file of any other name": ({"config.toml": to_toml(CONFIG), "thesis.txt": "mine"}, "holds thesis.txt"),
}


@pytest.mark.parametrize(("files", "said"), FOREIGN.values(), ids=[name.replace(" ", "-") for name in FOREIGN])
def test_a_directory_that_no_run_made_is_refused_and_left_alone(
    atlas: Atlas, tmp_path: Path, files: dict[str, str], said: str
) -> None:
    """Kills: files known by their names alone; a log of something else that is cut to nothing."""
    path = tmp_path / "theirs"
    path.mkdir()
    for name, text in files.items():
        (path / name).write_text(text)
    before = contents(path)
    config = tmp_path / "config.toml"
    config.write_text(to_toml(CONFIG))
    for options in (["--resume", "auto"], ["--resume", "auto", "--config", config], ["--config", config]):
        ended = atlas("train", "--out", path, *UNEXAMINED, *options)
        assert (ended.code, len(ended.err.splitlines())) == (2, 1)
        assert said in ended.err or "already holds a run" in ended.err
        assert contents(path) == before


def test_a_place_without_a_run_is_refused_unless_a_config_is_named(
    atlas: Atlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a misspelt --out that trains the preset tiny."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name in ("misspelt", "empty"):
        ended = atlas("train", "--resume", "auto", "--out", name, *UNEXAMINED)
        assert ended.code == 2
        assert ended.err == f"Error: {name}: holds no run to go on with; give --config to start one there.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
    Path("short.toml").write_text(to_toml(CONFIG))
    out = go_on_in(atlas, tmp_path / "empty", "--config", "short.toml", "--max-steps", "2")
    assert "starting from the beginning" in out


def test_a_branch_killed_before_its_first_checkpoint_goes_on_as_that_branch(
    atlas: Atlas, whole: Path, tmp_path: Path
) -> None:
    """Kills: a branch that starts from the beginning, as it has no checkpoint of its own yet; one whose origin is
    forgotten when the kill comes between two of its first files.
    """
    origin = find_checkpoint(whole / "checkpoints" / "step-00000002")
    branch, seen = tmp_path / "branch", {"": b""}
    copies: list[tuple[str, Path]] = []

    def visit(place: str) -> None:
        nonlocal seen
        now = contents(branch) if branch.is_dir() else {}
        if now != seen and not saved_steps(branch / "checkpoints") and "metrics.jsonl" in now | seen:
            copies.append((place, Path(shutil.copytree(branch, tmp_path / f"copy-{len(copies)}"))))
        seen = now

    with announced(visit):
        ready = get_ready(CONFIG, RunDirectory(branch), origin, over_unsaved=False)
        train(ready, Admission(None, SKIPPED), Silence(), lambda: False)
    assert len(copies) > 5
    for place, copy in [*copies[:2], copies[-1]]:
        out = go_on_in(atlas, copy)
        assert f"going on from {origin.path}, from which it branched off" in out, place
        assert_same(copy, whole)


def test_a_run_whose_checkpoints_were_taken_away_keeps_its_log(atlas: Atlas, whole: Path, tmp_path: Path) -> None:
    """Kills: the log of a finished run, cut to nothing because its checkpoints lie on another disk now."""
    path = Path(shutil.copytree(whole, tmp_path / "copy"))
    shutil.rmtree(path / "checkpoints")
    for _ in range(2):
        before = contents(path)
        ended = atlas("train", "--resume", "auto", "--out", path, *UNEXAMINED)
        assert ended.code == 2
        assert ended.err.startswith(f"Error: {path}: its log goes up to step 4, but it holds no checkpoint; ")
        assert contents(path) == before
        # Nor does it take an outcome to know that step 2 was saved.
        (path / "summary.json").unlink(missing_ok=True)


def test_a_log_that_is_gone_is_said(atlas: Atlas, whole: Path, tmp_path: Path) -> None:
    """Kills: a run that goes on with an empty history as if nothing had happened."""
    path = Path(shutil.copytree(whole, tmp_path / "copy"))
    assert "metrics.jsonl holds" not in go_on_in(atlas, path)
    (path / "metrics.jsonl").unlink()
    out = go_on_in(atlas, path, "--max-steps", "5")
    assert (
        out.count(f"{path}/metrics.jsonl holds 0 of its 4 lines up to step 4: the log goes on without the others") == 1
    )
    assert [line["step"] for line in metric_lines(path)] == [5]


def test_a_run_that_goes_on_hears_nothing_of_another_warm_up(atlas: Atlas, tmp_path: Path) -> None:
    """Kills: the warm-up of the preset tiny, lowered aloud for a run that has its own; the same command given again
    that is refused, as the warm-up was lowered the first time.
    """
    config, path = tmp_path / "config.toml", tmp_path / "run"
    config.write_text(to_toml(micro_config(*SHORT, "optim.warmup_steps=3")))
    command = ("train", *UNEXAMINED, "--config", config, "--out", path, "--max-steps", "2", "--resume", "auto")
    first, again = atlas(*command), atlas(*command)
    assert (first.code, again.code) == (0, 0), again.err
    assert "optim.warmup_steps is lowered from 3 to 2" in first.out
    assert "warmup" not in again.out
    assert "warmup" not in go_on_in(atlas, path, "--max-steps", "3")
    assert find_checkpoint(path).config.optim.warmup_steps == 2


def test_a_place_that_cannot_be_written_is_refused_before_preflight(
    atlas: Atlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: minutes of preflight, or a model that is built, before a read-only place is found out."""

    def never(*_: object) -> None:
        raise AssertionError("the place was not asked first")

    monkeypatch.setattr("cli.train.admit", never)
    config = tmp_path / "config.toml"
    config.write_text(to_toml(CONFIG))
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    for out, said in (
        ("/proc/atlas", "/proc: cannot be written (No such file or directory); give another --out."),
        (link, f"{link}: is no directory; the run directory must be new or empty."),
        (link / "run", f"{link}: is no directory; the run directory must be new or empty."),
        (config / "run", f"{config}: is no directory; the run directory must be new or empty."),
    ):
        ended = atlas("train", "--config", config, "--out", out)
        assert (ended.code, ended.err) == (2, f"Error: {said}\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.toml", "link"]
