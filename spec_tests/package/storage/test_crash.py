"""Crashes: wherever a run is killed, it goes on bit for bit, and what it had saved is still there.

Every test names the fault that was put into the program by hand and that it caught.
"""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

import atlas_ref
from atlas_ref.config import to_toml
from atlas_ref.storage.checkpoint import open_checkpoint, saved_steps
from atlas_ref.storage.run_directory import Admission, RunDirectory
from atlas_ref.training.loop import Outcome, get_ready, train
from spec_tests.package.damage.crash_points import announced
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
from spec_tests.package.warm.start import warm_python
from spec_tests.sampling import sample

ROOT = Path(atlas_ref.__file__).parents[1]

SMALL = (
    "model.n_layers=1",
    "data.sequence_length=16",
    "optim.warmup_steps=1",
    "train.max_steps=2",
    "train.log_interval=1",
    "train.eval_interval=1",
    "train.eval_batches=1",
    "train.save_interval=1",
    "train.keep_last=1",
)
"""A run that saves, validates and removes at each of its steps."""


class Killed(NamedTuple):
    """A whole run; a copy of its directory from each place where the files were not as before; and all places."""

    whole: Path
    copies: dict[str, Path]
    places: list[str]


def restart(path: Path) -> Outcome:
    """Do what `--resume auto` does."""
    directory = RunDirectory(path)
    ready = get_ready(micro_config(*SMALL), directory, directory.newest_checkpoint(), over_unsaved=True)
    return train(ready, Admission(None, SKIPPED), Silence(), lambda: False)


def contents(path: Path) -> dict[str, bytes]:
    """Return every file below a directory."""
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def checkpoint_files(path: Path) -> dict[str, bytes]:
    """Return everything below `checkpoints`, hidden or not."""
    return contents(path / "checkpoints")


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    """One whole run, watched."""
    folder = tmp_path_factory.mktemp("killed")
    found = Killed(folder / "run", {}, [])
    seen: dict[str, bytes] = {}

    def visit(place: str) -> None:
        nonlocal seen
        found.places.append(place)
        now = contents(found.whole) if found.whole.is_dir() else {}
        if now != seen:
            seen = now
            copy = folder / f"copy-{len(found.copies):03d}"
            shutil.copytree(found.whole, copy)
            found.copies[f"{len(found.copies):03d} {place}"] = copy

    with announced(visit):
        start(micro_config(*SMALL), found.whole)
    return found


def assert_same(path: Path, whole: Path, place: str) -> None:
    """Weights, optimiser, state, log and the whole of `checkpoints` are equal, byte for byte except for the clock."""
    assert saved_bytes(path) == saved_bytes(whole), place
    assert without_timing(metric_lines(path)) == without_timing(metric_lines(whole)), place
    assert checkpoint_files(path) == checkpoint_files(whole), place


@pytest.mark.parametrize("every", sample((5, 1)))
def test_a_run_killed_at_any_place_goes_on_bit_for_bit(killed: Killed, tmp_path: Path, every: int) -> None:
    """Kills: a checkpoint written under its own name; a log that is not cut back, or whose lines wait in a buffer; half
    a line taken for damage; `latest` or `best` left behind by a crash; hidden leftovers that stay.
    """
    assert {entry.name for entry in (killed.whole / "checkpoints").iterdir()} == {"best", "latest", "step-00000002"}
    for place, intact in list(killed.copies.items())[::every]:
        path = Path(shutil.copytree(intact, tmp_path / intact.name))
        restart(path)
        assert_same(path, killed.whole, place)


def test_what_looks_like_a_checkpoint_is_one_and_there_is_always_one_after_the_first(killed: Killed) -> None:
    """Kills: a save or a removal under the name that a checkpoint has; a removal before the new one is complete."""
    there = False
    for place, path in killed.copies.items():
        for saved in saved_steps(path / "checkpoints").values():
            open_checkpoint(saved).verify()
            there = True
        assert not there or saved_steps(path / "checkpoints"), place
    assert there


def test_the_places_are_those_of_every_write_rename_and_removal(killed: Killed) -> None:
    """The test above can fail: it stops inside and between all steps of a save, of a removal and of the log."""
    places = [place.split(maxsplit=1)[1] for place in killed.copies]
    for name in ("model.safetensors", "optimiser.safetensors", "state.safetensors", ".meta.json.partial"):
        assert places.count(f"half of write {name}") == 2
    for name in (".meta.json.partial", ".latest.partial", ".best.partial"):
        assert places.count(f"after rename {name}") == 2
    for place in (
        "half of line of the log",
        "after rename .partial-step-00000001",
        "after rename step-00000001",
        "after unlink model.safetensors",
        "after unlink state.safetensors",
        "half of write .summary.json.partial",
    ):
        assert place in places


def test_a_process_killed_inside_a_write_leaves_a_run_that_goes_on(killed: Killed, tmp_path: Path) -> None:
    """Kills: a lock that outlives its process; whatever the simulation above would miss of a real SIGKILL."""
    config, path, trace = tmp_path / "small.toml", tmp_path / "run", tmp_path / "trace"
    config.write_text(to_toml(micro_config(*SMALL)))
    saved_once = killed.places.index("after rename .latest.partial")
    last = 1 + killed.places.index("half of write optimiser.safetensors", saved_once)
    command = [warm_python(), "-m", "spec_tests.package.damage.killed_process", str(last), str(trace)]
    options = ["train", "--config", str(config), "--out", str(path), *UNEXAMINED]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *options], env=environment, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")
    assert trace.read_text().splitlines()[-1] == "half of write optimiser.safetensors"
    assert (path / "checkpoints" / ".partial-step-00000002").is_dir()
    restart(path)
    assert_same(path, killed.whole, "a real SIGKILL")
