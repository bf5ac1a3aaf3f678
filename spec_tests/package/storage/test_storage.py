"""Storage that fails: a full disk, a read-only one, two runs in one place, damaged files. What was saved stays.

Every test names the fault that was put into the program by hand and that it caught.
"""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

import atlas_ref
from atlas_ref.config import to_toml
from atlas_ref.errors import UserError
from atlas_ref.storage.checkpoint import find_checkpoint, saved_steps
from atlas_ref.storage.lock import hold
from atlas_ref.storage.run_directory import Admission, RunDirectory
from atlas_ref.training.loop import get_ready, train
from spec_tests.package.damage.crash_points import announced
from spec_tests.package.micro.command import Atlas
from spec_tests.package.micro.runs import (
    SKIPPED,
    UNEXAMINED,
    Silence,
    go_on,
    metric_lines,
    micro_config,
    saved_bytes,
    start,
    without_timing,
)

ROOT = Path(atlas_ref.__file__).parents[1]
SMALL = (
    "model.n_layers=1",
    "data.sequence_length=16",
    "train.max_steps=4",
    "train.log_interval=1",
    "train.eval_interval=1000",
    "train.eval_batches=1",
    "train.save_interval=1",
)
CONFIG = micro_config(*SMALL)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that kept steps 2, 3 and 4."""
    path = tmp_path_factory.mktemp("whole") / "run"
    start(CONFIG, path)
    assert list(saved_steps(path / "checkpoints")) == [2, 3, 4]
    return path


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """A copy of that run to damage."""
    return Path(shutil.copytree(whole, tmp_path / "copy"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config as a file."""
    path = tmp_path_factory.mktemp("config") / "small.toml"
    path.write_text(to_toml(CONFIG))
    return path


def contents(path: Path) -> dict[str, bytes]:
    """Return every file below a directory."""
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def assert_same(path: Path, whole: Path) -> None:
    """The runs are equal byte for byte, except for the clock."""
    assert saved_bytes(path) == saved_bytes(whole)
    assert without_timing(metric_lines(path)) == without_timing(metric_lines(whole))


def full_disk(place: str) -> Exception:
    """Return what a write that finds the disk full raises: neither it nor safetensors says which file it was."""
    if place.endswith(".safetensors"):
        return SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("place", "named"),
    [
        ("half of write optimiser.safetensors", "optimiser.safetensors"),
        ("half of write .meta.json.partial", ".meta.json.partial"),
        ("before sync", "metrics.jsonl"),
        ("half of line of the log", "metrics.jsonl"),
    ],
)
def test_a_full_disk_is_one_sentence_with_the_file_and_keeps_what_was_saved(
    atlas: Atlas, small: Path, whole: Path, tmp_path: Path, place: str, named: str
) -> None:
    """Kills: a SafetensorError as a traceback; an error without file; half a checkpoint that keeps the disk full; a log
    that raises again when it is closed; a run that cannot go on when there is space again.
    """
    saves, path = 0, tmp_path / "run"

    def visit(now: str) -> None:
        nonlocal saves
        saves += now == "after rename .latest.partial"
        if saves == 2 and now == place:
            raise full_disk(place)

    with announced(visit):
        ended = atlas("train", *UNEXAMINED, "--config", small, "--out", path)
    (line,) = ended.err.splitlines()
    assert (ended.code, line.startswith("Error: "), named in line) == (2, True, True)
    assert "No space left on device" in line
    assert saved_steps(path / "checkpoints").keys() >= {1, 2}
    assert not [entry for entry in path.rglob(".*") if entry.name != ".lock"]
    assert atlas("train", "--resume", "auto", "--out", path, "--config", small).code == 0
    assert_same(path, whole)


def test_a_read_only_directory_is_one_sentence(
    atlas: Atlas, copy: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a traceback; a first write before the lock, which would be half a start."""
    opened = os.open

    def read_only(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return opened(path, flags, *arguments, **options)

    before = contents(copy)
    monkeypatch.setattr(os, "open", read_only)
    ended = atlas("train", "--resume", "auto", "--out", copy, "--config", small)
    assert ended.code == 2
    assert ended.err == f"Error: {copy}: cannot be written (Read-only file system); give another --out.\n"
    assert contents(copy) == before


def namespace() -> list[str]:
    """Return the command that runs another in a mount namespace of its own; skip where there is none."""
    for options in (["--mount"], ["--mount", "--user", "--map-root-user"]):
        probe = ["unshare", *options, "mount", "-t", "tmpfs", "tmpfs", "/tmp"]
        if shutil.which("unshare") and subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            return ["unshare", *options]
    pytest.skip("this machine does not let a test mount a small file system")


@pytest.mark.exhaustive
def test_a_file_system_that_is_full_or_read_only_keeps_what_was_saved(small: Path, whole: Path, tmp_path: Path) -> None:
    """Kills: whatever the simulations above would miss of the real ones: a tmpfs too small for a third checkpoint."""
    size = sum(file.stat().st_size for file in (whole / "checkpoints" / "step-00000004").iterdir())
    disk = tmp_path / "disk"
    disk.mkdir()
    train_here = f"{sys.executable} -m cli.main train --config {small} --out {disk}/run --resume auto"
    script = (
        f"mount -t tmpfs -o size={2 * size + size // 2} tmpfs {disk} || exit 1\n"
        f'{train_here} --skip-preflight "{SKIPPED}" 2>{tmp_path}/full; echo $?\n'
        f"mount -o remount,ro {disk} && {train_here} 2>{tmp_path}/read-only; echo $?\n"
        f"cp -r {disk}/run {tmp_path}/kept"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*namespace(), "sh", "-c", script], env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.isdigit()] == ["2", "2"]
    (full,) = (tmp_path / "full").read_text().splitlines()
    assert full.startswith(f"Error: {disk}/run/checkpoints/.partial-step-00000003/")
    assert "No space left on device" in full
    read_only = f"Error: {disk}/run: cannot be written (Read-only file system); give another --out.\n"
    assert (tmp_path / "read-only").read_text() == read_only
    kept = tmp_path / "kept"
    assert list(saved_steps(kept / "checkpoints")) == [1, 2]
    go_on(CONFIG, kept)
    assert_same(kept, whole)


def test_a_second_run_in_one_directory_is_refused_while_the_first_lives(
    atlas: Atlas, copy: Path, small: Path, tmp_path: Path
) -> None:
    """Kills: no lock; one that a fresh start, or a resumed one, does not ask, or asks only after
    preflight; one that counts when nobody holds it."""
    options = ("train", *UNEXAMINED, "--config", small, "--out")
    with hold(copy / ".lock", print), pytest.raises(UserError, match="another process"):
        # Before anything that takes long, such as preflight.
        get_ready(CONFIG, RunDirectory(copy), find_checkpoint(copy), over_unsaved=False)
    (tmp_path / "new").mkdir()
    for path, resume in ((copy, ("--resume", "auto")), (copy, ("--resume", copy)), (tmp_path / "new", ())):
        with hold(path / ".lock", print):
            before = contents(path)
            ended = atlas(*options, path, *resume)
            assert ended.code == 2
            assert ended.err == (
                f"Error: {path}: another process is training here; wait for it, stop it, or give another --out.\n"
            )
            assert contents(path) == before
        assert atlas(*options, path, *resume).code == 0


def test_what_was_found_before_preflight_is_looked_at_again_under_the_lock(copy: Path, tmp_path: Path) -> None:
    """Kills: two starts that both find a free directory, and take minutes of preflight: the second writes over the
    first, whether that still runs or has ended.
    """
    longer = micro_config(*SMALL, "train.max_steps=5")
    for path, checkpoint in ((tmp_path / "new", None), (copy, find_checkpoint(copy))):
        first, second = (get_ready(longer, RunDirectory(path), checkpoint, over_unsaved=True) for _ in range(2))
        path.mkdir(exist_ok=True)
        before = contents(path)
        with hold(path / ".lock", print), pytest.raises(UserError, match="another process is training here"):
            train(first, Admission(None, SKIPPED), Silence(), lambda: False)
        assert contents(path).keys() - {".lock"} == before.keys() - {".lock"}
        train(first, Admission(None, SKIPPED), Silence(), lambda: False)
        after = contents(path)
        with pytest.raises(UserError, match=r"already holds a run|holds checkpoints after"):
            train(second, Admission(None, SKIPPED), Silence(), lambda: False)
        assert contents(path) == after


def test_a_file_system_without_locks_is_said_and_does_not_stop_a_run(
    atlas: Atlas, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: no training at all on such a file system; silence about the missing lock; another error taken for it."""

    def answer(number: int) -> Any:
        def flock(descriptor: int, operation: int) -> None:
            raise OSError(number, os.strerror(number))

        return flock

    monkeypatch.setattr(fcntl, "flock", answer(errno.ENOSYS))
    options = ("train", *UNEXAMINED, "--config", small, "--out", tmp_path / "run")
    ended = atlas(*options)
    assert ended.code == 0
    assert f"{tmp_path}/run/.lock: this file system has no locks (Function not implemented)" in ended.out
    monkeypatch.setattr(fcntl, "flock", answer(errno.EIO))
    failed = atlas(*options, "--resume", "auto")
    assert (failed.code, failed.err) == (2, f"Error: {tmp_path}/run/.lock: Input/output error\n")


@pytest.mark.parametrize(("damaged", "good"), [((4,), 3), ((4, 3), 2), ((4, 3, 2), None)])
def test_a_damaged_newest_checkpoint_is_named_with_the_newest_good_one(
    atlas: Atlas, copy: Path, whole: Path, small: Path, damaged: tuple[int, ...], good: int | None
) -> None:
    """Kills: falling back in silence; a good one that is damaged too; advice that does not work; preflight first."""
    saved = saved_steps(copy / "checkpoints")
    for step in damaged:
        file = saved[step] / "state.safetensors"
        file.write_bytes(file.read_bytes()[:-1] + b"\x07")
    before = contents(copy)
    for resume in ("auto", copy):
        ended = atlas("train", "--resume", resume, "--out", copy, "--config", small)
        (line,) = ended.err.splitlines()
        assert ended.code == 2
        assert line.startswith(f"Error: {saved[4]}/state.safetensors: is damaged")
        assert (f"The newest good checkpoint is {saved[good]}: " if good else "no good checkpoint before it") in line
        assert contents(copy) == before
    if good == 3:
        assert atlas("train", "--resume", saved[3], "--out", copy.with_name("branch"), "--config", small).code == 0
        assert_same(copy.with_name("branch"), whole)
        saved[4].rename(copy.with_name("moved"))
        assert atlas("train", "--resume", "auto", "--out", copy, "--config", small).code == 0
        assert_same(copy, whole)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("metrics.jsonl", b'{"step": 1}\nnot json\n{"step": 2}\n', "line 2: must be a JSON object"),
        ("metrics.jsonl", b"\xff\xfe\n", "line 1: must be a JSON object"),
        ("metrics.jsonl", b"[1]\n", "line 1: must be a JSON object"),
        ("metrics.jsonl", b'{"step": "1"}\n', "line 1: must be a JSON object"),
        ("metrics.jsonl", b"[" * 100_000 + b"\n", "line 1: must be a JSON object"),
        ("env.json", b'{"a": 1}', "must hold a list"),
        ("env.json", b"[", "is not JSON"),
        ("env.json", b"[" * 100_000, "nested more than 64 deep"),
        ("config.toml", b"\xff", "config.toml"),
        ("config.toml", b"train = 3", "config.toml"),
    ],
)
def test_other_files_of_a_run_that_are_damaged_are_named_and_nothing_changes(
    atlas: Atlas, copy: Path, small: Path, name: str, content: bytes, said: str
) -> None:
    """Kills: a KeyError from a line without step; a RecursionError; a config written before env.json proved usable."""
    (copy / name).write_bytes(content)
    before = contents(copy)
    ended = atlas("train", "--resume", copy, "--set", "train.log_interval=7")
    assert ended.code == 2
    first = ended.err.splitlines()[0]
    assert first.startswith(f"Error: {copy}/{name}")
    assert said in first
    assert contents(copy) == before
