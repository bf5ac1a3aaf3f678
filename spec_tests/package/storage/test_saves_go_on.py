"""What stands in the way of one save ends no run: that is said once, and the next save is tried; the last one counts.

Every test names the fault that was put into the program by hand and that it caught.
"""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from atlas_ref.errors import UserError
from atlas_ref.storage.checkpoint import find_checkpoint, open_checkpoint, saved_steps
from spec_tests.package.micro.runs import (
    RECALL,
    Listener,
    metric_lines,
    micro_config,
    saved_bytes,
    start,
    without_timing,
)

SMALL = (
    *RECALL,
    "model.n_layers=1",
    "train.max_steps=5",
    "train.eval_interval=2",
    "train.eval_batches=1",
    "train.save_interval=1",
    "train.keep_last=1",
)
NOTES = b"a chapter that exists nowhere else"


class Putting(Listener):
    """Puts something below `checkpoints` as soon as step 1 is saved."""

    def __init__(self, put: Callable[[], object]) -> None:
        super().__init__()
        self.put = put

    def say(self, text: str) -> None:
        if text.endswith("step-00000001"):
            self.put()
        super().say(text)


def notes(path: Path) -> None:
    """Put a file of a person somewhere."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(NOTES)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in whose way nothing stands."""
    path = tmp_path_factory.mktemp("whole") / "run"
    start(micro_config(*SMALL), path)
    return path


@pytest.mark.parametrize("name", ["step-00000003/notes.txt", "step-00000003"])
def test_a_foreign_thing_with_the_name_of_a_checkpoint_costs_that_save_and_no_other(
    whole: Path, tmp_path: Path, name: str
) -> None:
    """Kills: a run that ends there; a save that is said and is none; what is in the way replaced; a try left behind."""
    run = tmp_path / "run"
    foreign = run / "checkpoints" / name
    listener = Putting(lambda: notes(foreign))
    start(micro_config(*SMALL), run, reporter=listener)
    said = [text for text in listener.said if "step-00000003" in text]
    assert said[0] == (
        f"{run / 'checkpoints' / 'step-00000003'}: has the name of the checkpoint of step 3, which is not saved. "
        "Training goes on to its next save."
    )
    assert len(said) == 1
    assert foreign.read_bytes() == NOTES
    assert not list((run / "checkpoints").glob(".*"))
    assert saved_bytes(run).items() >= saved_bytes(whole).items()
    assert without_timing(metric_lines(run)) == without_timing(metric_lines(whole))


def test_the_last_save_that_cannot_be_made_is_one_sentence_and_keeps_the_one_before(tmp_path: Path) -> None:
    """Kills: a run that ends as done, or as stopped, with steps that are nowhere."""
    run = tmp_path / "run"
    foreign = run / "checkpoints" / "step-00000005" / "notes.txt"
    with pytest.raises(UserError, match="step-00000005: has the name of the checkpoint of step 5, which is not saved"):
        start(micro_config(*SMALL), run, reporter=Putting(lambda: notes(foreign)))
    assert not (run / "summary.json").exists()
    open_checkpoint(run / "checkpoints" / "step-00000004").verify()

    stopped = tmp_path / "stopped"
    foreign = stopped / "checkpoints" / "step-00000002" / "notes.txt"
    asked = iter([False, False, True])
    with pytest.raises(UserError, match="step-00000002: has the name"):
        start(micro_config(*SMALL), stopped, reporter=Putting(lambda: notes(foreign)), stop=lambda: next(asked))
    open_checkpoint(stopped / "checkpoints" / "step-00000001").verify()


@pytest.mark.parametrize("pointer", ["latest", "best"])
def test_a_pointer_that_cannot_be_written_is_said_once_and_leads_to_a_checkpoint_all_the_same(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pointer: str
) -> None:
    """Kills: a run that ends there; a line at every save; a checkpoint removed that a pointer still names; a pointer
    that is not tried again.
    """
    run = tmp_path / "run"
    replace, failures = os.replace, 0

    def failing(source: Path, target: Path) -> None:
        nonlocal failures
        if Path(target).name == pointer and Path(target).exists() and failures < 2:
            failures += 1
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(target))
        replace(source, target)

    class Following(Listener):
        def say(self, text: str) -> None:
            super().say(text)
            if text.startswith("saved ") and (run / "checkpoints" / pointer).exists():
                find_checkpoint(run / "checkpoints" / pointer).verify()

    listener = Following()
    monkeypatch.setattr(os, "replace", failing)
    config = micro_config(*SMALL, "train.eval_interval=1", "optim.learning_rate=0.01", "optim.warmup_steps=0")
    start(config, run, reporter=listener)
    assert failures == 2
    said = [text for text in listener.said if "stays as it is" in text]
    assert said == [f"{run / 'checkpoints' / pointer} stays as it is: {os.strerror(errno.EIO)}"]
    assert (run / "checkpoints" / "latest").read_text() == "step-00000005\n"
    kept = {path.name for path in saved_steps(run / "checkpoints").values()}
    assert kept == {(run / "checkpoints" / name).read_text().strip() for name in ("latest", "best")}


def test_a_directory_called_latest_stays_and_stops_nothing(whole: Path, tmp_path: Path) -> None:
    """Kills: a run that ends where the pointer is no file; a directory of a person replaced."""
    run = tmp_path / "run"
    latest = run / "checkpoints" / "latest"

    def put() -> None:
        latest.unlink(missing_ok=True)
        notes(latest / "notes.txt")

    listener = Putting(put)
    start(micro_config(*SMALL), run, reporter=listener)
    assert [text for text in listener.said if "stays as it is" in text] == [f"{latest} stays as it is: Is a directory"]
    assert (latest / "notes.txt").read_bytes() == NOTES
    assert find_checkpoint(run).step == 5
