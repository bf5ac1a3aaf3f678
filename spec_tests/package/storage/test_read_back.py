"""What training writes can be read back, by whoever may, and what is read back is what training can have written.

Every test names the fault that was put into the program by hand and that it caught.
"""

import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from atlas_ref.errors import UserError
from atlas_ref.storage import checkpoint_meta
from atlas_ref.storage.checkpoint import MODEL, OPTIMISER, STATE, find_checkpoint, saved_steps
from atlas_ref.storage.files import write_json
from atlas_ref.storage.run_directory import Admission, RunDirectory
from atlas_ref.training.loop import get_ready, train
from atlas_ref.training.run import new_run, restore
from spec_tests.package.damage.sealed import seal
from spec_tests.package.micro.runs import SKIPPED, Listener, Silence, metric_lines, micro_config, start, without_timing

SMALL = (
    "model.n_layers=1",
    "data.sequence_length=16",
    "train.max_steps=6",
    "train.log_interval=1",
    "train.eval_batches=1",
    "optim.name='muon'",
)
CONFIG = micro_config(*SMALL)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with checkpoints of steps 3 and 6."""
    path = tmp_path_factory.mktemp("whole") / "run"
    start(CONFIG, path)
    return path


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """A copy of that run to damage."""
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def heard(path: Path) -> list[str]:
    """Go on from the newest checkpoint and return what was said."""
    listener = Listener()
    ready = get_ready(CONFIG, RunDirectory(path), find_checkpoint(path), over_unsaved=False)
    train(ready, Admission(None, SKIPPED), listener, lambda: False)
    return listener.said


def test_a_checkpoint_that_could_not_be_opened_is_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a description that is renamed unread, so that days of training end in "is no description"."""
    told = "a reason\u200b"
    ready = get_ready(CONFIG, RunDirectory(tmp_path / "run"), None, over_unsaved=False)
    with pytest.raises(UserError, match=r"meta\.json: is no description of a checkpoint \(preflight_skipped"):
        train(ready, Admission(None, told), Silence(), lambda: False)
    assert not saved_steps(tmp_path / "run" / "checkpoints")
    # Whatever the reader does not take, the writer does not leave.
    monkeypatch.setattr(checkpoint_meta, "FORMAT", "another")
    with pytest.raises(UserError, match="does not describe a checkpoint"):
        start(CONFIG, tmp_path / "other")
    assert not list((tmp_path / "other" / "checkpoints").glob("*step*"))


@pytest.mark.parametrize("value", ["\ud800", {"\udce9": 1}, [["a\udfff"]]])
def test_json_that_no_strict_reader_takes_does_not_replace_a_file(tmp_path: Path, value: object) -> None:
    """Kills: an escape of half a surrogate pair, which Python reads back and other parsers refuse."""
    path = tmp_path / "x.json"
    write_json(path, {"a": "é🙂"})
    before = path.read_bytes()
    with pytest.raises(UserError, match="surrogates not allowed"):
        write_json(path, value)
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == {"x.json": before}


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_every_file_of_a_run_has_the_mode_that_the_umask_gives(tmp_path: Path, mask: int) -> None:
    """Kills: weights that nobody but their owner can read, beside a description that everybody can."""
    before = os.umask(mask)
    try:
        start(micro_config(*SMALL, "train.max_steps=1", "optim.warmup_steps=1"), tmp_path / "run")
    finally:
        os.umask(before)
    for path in (tmp_path / "run", *(tmp_path / "run").rglob("*")):
        wanted = (0o777 if path.is_dir() else 0o666) & ~mask
        assert oct(stat.S_IMODE(path.stat().st_mode)) == oct(wanted), path


def change(file: str, key: str, value: float) -> Callable[[Path], str]:
    """Return what puts a number into each tensor of a file whose name holds a key, and returns one of these names."""

    def apply(path: Path) -> str:
        tensors = load_file(path / file)
        (name, *_) = names = sorted(name for name in tensors if key in name)
        for each in names:
            tensors[each].view(-1)[0] = value
        save_file(tensors, path / file)
        seal(path)
        return name

    return apply


def beyond() -> Iterator[tuple[str, str, float]]:
    """Yield file, tensor and number of what training up to step 6 cannot have left."""
    for number in (-5.0, 0.0, 0.5, 7.0, 1e9, float("nan"), float("inf")):
        yield OPTIMISER, "adamw.step.", number
    yield OPTIMISER, "adamw.exp_avg_sq.", -1e-9
    for file, key in ((OPTIMISER, "exp_avg."), (OPTIMISER, "momentum_buffer"), (STATE, "weights"), (MODEL, "embed")):
        yield file, key, float("nan")
        yield file, key, float("-inf")
    for number in (-1, 97, 2**62, -(2**63)):
        yield STATE, ".position", number


@pytest.mark.parametrize(("file", "key", "number"), list(beyond()))
def test_a_sealed_number_that_training_cannot_have_left_is_refused_by_name(
    copy: Path, file: str, key: str, number: float
) -> None:
    """Kills: an error of torch in the middle of a step; a run that goes on, wrongly, from a count of its own."""
    name = change(file, key, number)(copy / "checkpoints" / "step-00000006")
    with pytest.raises(UserError) as refused:
        restore(new_run(CONFIG, torch.device("cpu")), find_checkpoint(copy))
    assert str(refused.value).startswith(f"{copy}/checkpoints/step-00000006/{file}: ")
    assert name in str(refused.value)


def test_the_last_numbers_that_training_can_have_left_are_taken(copy: Path) -> None:
    """Kills: a bound that refuses what a healthy run writes."""
    for file, key, number in ((OPTIMISER, "adamw.step.", 1.0), (STATE, ".position", 96), (STATE, ".position", 0)):
        change(file, key, number)(copy / "checkpoints" / "step-00000006")
        restore(new_run(CONFIG, torch.device("cpu")), find_checkpoint(copy))


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("since", {"alpha/m3_alpha/0": 0}, "began at step 0 of 6"),
        ("since", {"alpha/m3_alpha/0": -5}, "began at step -5 of 6"),
        ("since", {"alpha/m3_alpha/0": 7}, "began at step 7 of 6"),
        ("history", {"non_finite/loss": [1.0] * 33}, "at most 32 items"),
    ],
)
def test_what_the_switches_cannot_remember_is_refused(copy: Path, place: str, value: object, said: str) -> None:
    """Kills: a streak that began before the run, or after the checkpoint, and fires at once or never."""
    seal(copy / "checkpoints" / "step-00000006", lambda meta: meta["kill_switches"].update({place: value}))
    with pytest.raises(UserError, match=said):
        find_checkpoint(copy)


def torn(behind: bytes) -> Callable[[bytes], bytes]:
    """Return what puts bytes in the place of line 5 of a log."""
    return lambda log: b"\n".join([*log.split(b"\n")[:4], behind, *log.split(b"\n")[5:]])


@pytest.mark.parametrize("behind", [bytes(4096), b'{"step": 5, "tra' + bytes(200), b"\xff", b"[]", b'{"step": 3}'])
def test_lines_behind_the_checkpoint_that_a_power_loss_tore_are_dropped_and_that_is_said(
    copy: Path, whole: Path, behind: bytes
) -> None:
    """Kills: a run that cannot go on for lines it is about to drop; one that drops them in silence."""
    shutil.rmtree(copy / "checkpoints" / "step-00000006")
    log = copy / "metrics.jsonl"
    log.write_bytes(torn(behind)(log.read_bytes()))
    said = heard(copy)
    assert any(str(text).startswith(f"{log}, line 5: ") and "It is left out" in text for text in said), said
    assert without_timing(metric_lines(copy)) == without_timing(metric_lines(whole))


def test_a_damaged_line_before_the_checkpoint_is_refused_and_nothing_changes(copy: Path) -> None:
    """Kills: damage before the checkpoint taken for what a power loss left behind it: the last line too."""
    log = copy / "metrics.jsonl"
    for line in (1, 4, 6):
        whole_log = log.read_bytes()
        lines = whole_log.split(b"\n")
        damaged = b"\n".join([*lines[: line - 1], bytes(len(lines[line - 1])), *lines[line:]])
        log.write_bytes(damaged)
        with pytest.raises(UserError, match=rf"line {line}: .* It is from before step 6: mend it, or move it away"):
            heard(copy)
        assert log.read_bytes() == damaged
        log.write_bytes(whole_log)


@pytest.mark.parametrize("lines", [0, 4])
def test_a_log_that_is_gone_or_short_is_said(copy: Path, lines: int) -> None:
    """Kills: a log that begins in the middle without a word, and with it a best validation that is forgotten."""
    log = copy / "metrics.jsonl"
    log.write_text("".join(f"{json.dumps(line)}\n" for line in metric_lines(copy)[:lines]))
    if not lines:
        log.unlink()
    said = heard(copy)
    assert any(f"{log} holds {lines} of its 6 lines up to step 6" in text for text in said), said


def test_lines_that_are_made_again_are_counted(copy: Path, whole: Path) -> None:
    """Kills: good lines behind the checkpoint that are kept, or dropped without a word."""
    shutil.rmtree(copy / "checkpoints" / "step-00000006")
    said = heard(copy)
    assert f"3 lines of {copy}/metrics.jsonl are left out: what follows step 3 is made again" in said
    assert without_timing(metric_lines(copy)) == without_timing(metric_lines(whole))


def test_a_branch_counts_the_lines_of_its_own_log(copy: Path, whole: Path, tmp_path: Path) -> None:
    """Kills: a count that begins anew on resume, so that a log that is whole counts as short."""
    branch = tmp_path / "branch"
    go_on_in(branch, copy / "checkpoints" / "step-00000003")
    for path in (branch, whole):
        assert [find_checkpoint(path).log_lines, len(metric_lines(path))] == [6, 6]
    assert not [text for text in heard(branch) if "metrics.jsonl" in text]


def go_on_in(path: Path, checkpoint: Path) -> None:
    """Branch off."""
    ready = get_ready(CONFIG, RunDirectory(path), find_checkpoint(checkpoint), over_unsaved=False)
    train(ready, Admission(None, SKIPPED), Silence(), lambda: False)
