"""What goes from a directory of checkpoints is what training made there; what cannot go is said, and stops nothing.

Every test names the fault that was put into the program by hand and that it caught.
"""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atlas_ref.storage.checkpoint import TENSOR_FILES, find_checkpoint, open_checkpoint, saved_steps
from atlas_ref.storage.removal import remove
from atlas_ref.storage.run_directory import Admission, RunDirectory
from atlas_ref.training.loop import get_ready, train
from spec_tests.package.micro.runs import RECALL, SKIPPED, Listener, micro_config

SMALL = (
    *RECALL,
    "model.n_layers=1",
    "train.max_steps=4",
    "train.eval_interval=1000",
    "train.eval_batches=1",
    "train.save_interval=1",
    "train.keep_last=1",
    "train.keep_best=false",
)
"""A run that saves at each step and keeps the newest alone."""
NOTES = b"a chapter that exists nowhere else"


def going_on(path: Path, steps: int, listener: Listener | None = None) -> list[str]:
    """Train up to a step, from the newest checkpoint where there is one, and return what was said."""
    heard = listener or Listener()
    config, directory = micro_config(*SMALL, f"train.max_steps={steps}"), RunDirectory(path)
    ready = get_ready(config, directory, directory.newest_checkpoint(), over_unsaved=False)
    train(ready, Admission(None, SKIPPED), heard, lambda: False)
    return heard.said


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has made two of its steps."""
    path = tmp_path_factory.mktemp("whole") / "run"
    going_on(path, 2)
    assert list(saved_steps(path / "checkpoints")) == [2]
    return path


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


def write(path: Path) -> None:
    """Put a file of a person somewhere."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(NOTES)


def link_away(path: Path) -> None:
    """Move what is there, or a fresh directory of a person, elsewhere and leave a link."""
    elsewhere = path.parents[2] / f"big-{path.name}"
    if path.exists():
        path.rename(elsewhere)
    else:
        write(elsewhere / "notes.txt")
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(elsewhere)


FOREIGN: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a file called .partial-*": (".partial-thesis", write),
    "a directory called .partial-*": (".partial-thesis/notes.txt", write),
    "a file called .removed-*": (".removed-mine", write),
    "a file called .removed-step-N": (".removed-step-00000001", write),
    "notes in .removed-step-N": (".removed-step-00000001/notes.txt", write),
    "notes beside weights": (".removed-step-00000001/model.safetensors.txt", write),
    "notes where a checkpoint will be written": (".partial-step-00000003/notes.txt", write),
    "a file where a checkpoint will be written": (".partial-step-00000003", write),
    "notes where a checkpoint will be hidden": (".removed-step-00000002/notes.txt", write),
    "notes in a checkpoint": ("step-00000002/notes.txt", write),
    "a folder in a checkpoint": ("step-00000002/plots/loss.png", write),
    "a checkpoint that was moved away": ("step-00000002", link_away),
    "a link called .removed-step-N": (".removed-step-00000001", link_away),
    "a link called .partial-step-N": (".partial-step-00000003", link_away),
    "weights that were moved away": ("step-00000002/model.safetensors", link_away),
    "a link inside .partial-step-N": (".partial-step-00000001/model.safetensors", link_away),
    "a pipe inside .partial-step-N": (".partial-step-00000001/model.safetensors", lambda path: pipe(path)),
    "an older directory with the name of a checkpoint": ("step-00000001/notes.txt", write),
    "an older file with the name of a checkpoint": ("step-00000001", write),
    "an empty directory with the name of a checkpoint": ("step-99999999", Path.mkdir),
}


def pipe(path: Path) -> None:
    """Put a named pipe somewhere."""
    path.parent.mkdir()
    os.mkfifo(path)


def everything(path: Path) -> dict[str, bytes | str | None]:
    """Return content, or target, of all below a directory, links not followed."""
    found: dict[str, bytes | str | None] = {}
    for entry in path.rglob("*"):
        name = entry.relative_to(path).as_posix()
        regular = entry.is_file() and not entry.is_symlink()
        found[name] = os.readlink(entry) if entry.is_symlink() else entry.read_bytes() if regular else None
    return found


def groups() -> list[dict[str, str]]:
    """Return all of it in groups in which no two have the same place: by the name of that, what is put there."""
    found: list[dict[str, str]] = []
    for what, (name, _) in FOREIGN.items():
        top = name.partition("/")[0]
        free = next((group for group in found if top not in group), None)
        if free is None:
            found.append(free := {})
        free[top] = what
    return found


@pytest.mark.parametrize("group", groups(), ids=len)
def test_what_training_did_not_make_stays_and_is_said_once_and_stops_nothing(run: Path, group: dict[str, str]) -> None:
    """Kills: removal by a name alone, of a tree, or of what a link leads to; training that ends there, now or at its
    next start; a line at every save.
    """
    checkpoints = run / "checkpoints"
    ours = everything(run).keys()
    for what in group.values():
        name, put = FOREIGN[what]
        put(checkpoints / name)
    planted = {key: held for key, held in everything(run.parent).items() if key.removeprefix("run/") not in ours}
    planted |= {key: held for key, held in everything(run.parent).items() if "big-" in key or "step-00000002/" in key}
    said = going_on(run, 4)
    assert everything(run.parent).items() >= planted.items()
    for top, what in group.items():
        assert len([text for text in said if f"/{top} stays where it is: " in text]) == 1, (what, said)
    assert (checkpoints / "latest").read_text() == "step-00000004\n"
    assert {entry.name for entry in checkpoints.iterdir()} - {*group, "step-00000002"} == {"step-00000004", "latest"}
    # What is in the way of a step that has to go leaves that step whole, under its own name.
    for path in saved_steps(checkpoints).values():
        if path.name not in group:
            open_checkpoint(path).verify()
    going_on(run, 5)
    assert everything(run.parent).items() >= planted.items()


def test_an_empty_directory_that_appears_beside_a_live_run_is_no_checkpoint(run: Path) -> None:
    """Kills: `latest` that names whatever has the highest number; a pointer that leads nowhere."""
    checkpoints = run / "checkpoints"

    class Meanwhile(Listener):
        def say(self, text: str) -> None:
            if text.endswith("step-00000003"):
                (checkpoints / "step-99999999").mkdir()
                shutil.copytree(checkpoints / "step-00000003", checkpoints / "step-00000007")
            super().say(text)

    going_on(run, 4, Meanwhile())
    assert (checkpoints / "latest").read_text() == "step-00000004\n"
    assert find_checkpoint(checkpoints / "latest").step == 4
    assert sorted(path.name for path in checkpoints.iterdir()) == [
        "latest",
        "step-00000004",
        "step-00000007",
        "step-99999999",
    ]


LEFT = (
    ".partial-step-00000003/model.safetensors",
    ".partial-step-00000003/.tmpAb3dEf",
    ".partial-step-00000003/.meta.json.partial",
    ".partial-step-00000003-2/meta.json",
    ".partial-step-00000005/optimiser/shard-00002-model-00001-of-00001.safetensors",
    ".partial-step-00000005/state/shard-00001-model-00001-of-00001.safetensors",
    ".removed-step-00000001/state.safetensors",
)


def test_what_training_left_there_goes(run: Path) -> None:
    """Kills: a removal so careful that leftovers of a crash stay for ever."""
    checkpoints = run / "checkpoints"
    for name in LEFT:
        write(checkpoints / name)
    (checkpoints / ".removed-step-00000000").mkdir()
    said = going_on(run, 3)
    assert sorted(entry.name for entry in checkpoints.iterdir()) == ["latest", "step-00000003"]
    assert not [text for text in said if "stays" in text]


def failing(number: int, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that fails for paths below a directory whose name begins with `part`."""

    def call(path: Any, *arguments: Any, **options: Any) -> Any:
        if any(name.startswith(part) for name in Path(path).parts):
            raise OSError(number, os.strerror(number), str(path))
        return function(path, *arguments, **options)

    return call


@pytest.mark.parametrize(
    ("owner", "call", "part", "number"),
    [
        (Path, "unlink", ".removed-", errno.EIO),
        (Path, "unlink", ".removed-", errno.EBUSY),
        (Path, "rmdir", ".removed-", errno.ENOTEMPTY),
        (os, "replace", "step-", errno.EACCES),
        (os, "scandir", ".removed-", errno.EIO),
    ],
)
def test_a_removal_that_fails_is_said_once_a_thing_and_stops_nothing(
    run: Path, owner: Any, call: str, part: str, number: int
) -> None:
    """Kills: a healthy run that an old checkpoint ends; its next start too; a line at every save; a removal that is
    not tried again when it can be done.
    """
    checkpoints = run / "checkpoints"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, call, failing(number, part, getattr(owner, call)))
        said = going_on(run, 4)
        said_again = going_on(run, 5)
    lines = [text for text in said if os.strerror(number) in text]
    assert len(lines) == len({text.partition(" stays")[0] for text in lines}) == 2, said
    assert all("stays where it is" in text for text in lines)
    assert find_checkpoint(run).step == 5
    assert len([text for text in said_again if os.strerror(number) in text]) == 3
    assert not [text for text in going_on(run, 6) if "stays" in text]
    assert sorted(entry.name for entry in checkpoints.iterdir()) == ["latest", "step-00000006"]


def test_a_file_that_nfs_keeps_while_somebody_reads_it_stops_nothing(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a checkpoint that cannot be removed because it is being evaluated, and ends the training with it."""
    unlink = Path.unlink

    def silly_rename(self: Path, **options: Any) -> None:
        if self.parent.name.startswith(".removed-") and self.name in TENSOR_FILES:
            self.rename(self.with_name(f".nfs{TENSOR_FILES.index(self.name):016x}"))
        else:
            unlink(self, **options)

    monkeypatch.setattr(Path, "unlink", silly_rename)
    said = going_on(run, 4)
    assert len([text for text in said if "stays where it is" in text]) == 2, said
    monkeypatch.undo()
    # The reader has gone, and with it the files.
    for entry in (run / "checkpoints").rglob(".nfs*"):
        entry.unlink()
    going_on(run, 5)
    assert sorted(entry.name for entry in (run / "checkpoints").iterdir()) == ["latest", "step-00000005"]


def test_a_directory_with_another_name_is_not_removed(tmp_path: Path) -> None:
    """Kills: a pattern that a longer or shorter name fits too."""
    for name in ("step-00000001", ".removed-step-1", ".removed-step-00000001x", "x.partial-step-00000001", ".partial-"):
        write(tmp_path / name / "model.safetensors")
        with pytest.raises(ValueError, match="training makes no such name"):
            remove(tmp_path / name)
    assert len(list(tmp_path.rglob("model.safetensors"))) == 5
