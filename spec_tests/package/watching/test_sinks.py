"""TensorBoard and W&B: read back, they hold what metrics.jsonl holds, once; and whatever they do, training goes on.

Every test names the fault that was put into the program by hand and that it caught.
"""

import importlib.util
import json
import shutil
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from atlas_ref.config import RunConfig, to_toml
from atlas_ref.errors import UserError
from atlas_ref.storage.metrics_log import TIMING
from atlas_ref.storage.run_directory import Admission, RunDirectory
from atlas_ref.training.loop import get_ready, train
from atlas_ref.watching import sinks
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
    stop_before,
    without_timing,
)

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

EVERY_STEP = ("train.log_interval=1", "train.save_interval=3")
BOTH = ("train.tensorboard=true", "train.wandb=true")
Scalars = list[tuple[int, str, float]]


class Notes(Silence):
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the user's own environment says to W&B is not what is tested."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six steps that lost its last checkpoint, and made steps 4 to 6 again from the one before."""
    path = tmp_path_factory.mktemp("sinks") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("WANDB_MODE", raising=False)
        config = micro_config(*EVERY_STEP, *BOTH)
        start(config, path)
        shutil.rmtree(path / "checkpoints" / "step-00000006")
        go_on(config, path)
    return path


def by_step(values: Iterable[tuple[int, str, float]]) -> Scalars:
    """Return values sorted, without the step itself and what the clock decides."""
    return sorted(value for value in values if value[1] not in ("step", *TIMING))


def logged(path: Path) -> Scalars:
    """Return step, key and value of everything in metrics.jsonl, sorted."""
    return by_step((line["step"], key, value) for line in metric_lines(path) for key, value in line.items())


def scalars(path: Path) -> Scalars:
    """Return the same of the event files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(path / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    return by_step((event.step, key, event.value) for key in events.Tags()["scalars"] for event in events.Scalars(key))


def wandb_records(data: bytes) -> Iterator[bytes]:
    """Yield the records of an offline file, a log of LevelDB: 32 KiB blocks of checksum, length, kind and part."""
    at, record = 7, b""
    while at < len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield record
            record = b""


def wandb_history(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the run id and each history line of every file that W&B wrote offline."""
    # A module whose contents depend on the version of protobuf, so that no type checker knows them.
    protocol: Any = importlib.import_module("wandb.proto.wandb_internal_pb2")
    for file in sorted(path.glob("wandb/offline-run-*/run-*.wandb")):
        run = ""
        for data in wandb_records(file.read_bytes()):
            record = protocol.Record.FromString(data)
            run = record.run.run_id or run
            if record.HasField("history"):
                yield run, {item.nested_key[0] or item.key: json.loads(item.value_json) for item in record.history.item}


def sent(path: Path) -> Scalars:
    """Return step, key and value of everything that W&B was sent, sorted."""
    lines = [line for _, line in wandb_history(path)]
    return by_step((line["_step"], key, value) for line in lines for key, value in line.items() if key[0] != "_")


def assert_equal(found: Scalars, expected: Scalars) -> None:
    """TensorBoard rounds to single precision."""
    assert [value[:2] for value in found] == [value[:2] for value in expected]
    assert [value[2] for value in found] == pytest.approx([value[2] for value in expected], rel=1e-6)


def test_both_sinks_hold_every_line_of_the_log_once_after_a_resume(resumed: Path) -> None:
    """Kills: one of two sinks dropped; no purge on resume (steps 4 to 6 twice); another id after a resume; steps sent
    to W&B again; values under other keys; the last line lost; a resumed sink that begins anew.
    """
    expected = logged(resumed)
    assert {step for step, _, _ in expected} == {1, 2, 3, 4, 5, 6}
    assert_equal(scalars(resumed), expected)
    assert_equal(sent(resumed), expected)
    state = json.loads((resumed / "wandb" / sinks.WANDB_STATE).read_text())
    assert {run for run, _ in wandb_history(resumed)} == {state["id"]}
    assert len(list(resumed.glob("wandb/offline-run-*"))) == 2


def test_a_run_with_sinks_is_the_run_without_them_and_its_directory_is_known(resumed: Path, tmp_path: Path) -> None:
    """Kills: a sink that draws random numbers or changes the log; a run directory that is refused as foreign."""
    start(micro_config(*EVERY_STEP), tmp_path / "plain")
    assert saved_bytes(resumed) == saved_bytes(tmp_path / "plain")
    assert without_timing(metric_lines(resumed)) == without_timing(metric_lines(tmp_path / "plain"))
    assert RunDirectory(resumed).unknown_files() == []
    assert not list((tmp_path / "plain").glob("tensorboard")) + list((tmp_path / "plain").glob("wandb"))


def test_a_sink_that_is_switched_on_later_gets_the_lines_that_it_missed(tmp_path: Path) -> None:
    """Kills: a curve that begins in the middle; a line given twice, from the log and from training; a field that a
    resumed run may not change.
    """
    start(micro_config(*EVERY_STEP), tmp_path / "run", stop_before(4))
    go_on(micro_config(*EVERY_STEP, "train.tensorboard=true"), tmp_path / "run")
    steps = [step for step, key, _ in scalars(tmp_path / "run") if key == "memory/omega_loss"]
    assert steps == [1, 2, 3, 4, 5, 6]


def told(config: RunConfig, path: Path) -> list[str]:
    """Train to the end and return what was said of sinks."""
    notes = Notes()
    ready = get_ready(config, RunDirectory(path), None, over_unsaved=False)
    assert train(ready, Admission(None, SKIPPED), notes, lambda: False).step == 6
    assert [line["step"] for line in metric_lines(path)] == [1, 2, 3, 4, 5, 6]
    return [text for text in notes.said if "left out" in text]


def test_a_sink_that_fails_in_the_middle_is_reported_once_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: an error that ends the run; a warning at every step; a warning that does not name the sink."""
    from torch.utils.tensorboard import SummaryWriter

    whole = SummaryWriter.add_scalar

    def full_at_three(self: "SummaryWriter", key: str, value: float, step: int) -> None:
        if step >= 3:
            raise OSError(28, "No space left on device")
        whole(self, key, value, step)

    monkeypatch.setattr(SummaryWriter, "add_scalar", full_at_three)
    (said,) = told(micro_config(*EVERY_STEP, "train.tensorboard=true"), tmp_path / "run")
    assert said.startswith("TensorBoard is left out from here on: [Errno 28] No space left on device")
    assert {step for step, _, _ in scalars(tmp_path / "run")} == {1, 2}


def test_a_sink_that_cannot_be_opened_or_closed_is_reported_and_the_other_one_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a sink that stops the other; a failure of W&B, which has errors of its own, that ends the run."""
    import wandb
    from torch.utils.tensorboard import SummaryWriter

    def refuse(**_: object) -> None:
        raise wandb.Error("no service")

    def lost(self: "SummaryWriter") -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(wandb, "init", refuse)
    monkeypatch.setattr(SummaryWriter, "close", lost)
    said = told(micro_config(*EVERY_STEP, *BOTH), tmp_path / "run")
    assert [text.split(" is left out")[0] for text in said] == ["W&B", "TensorBoard"]
    assert {step for step, _, _ in scalars(tmp_path / "run")} == {1, 2, 3, 4, 5, 6}


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_missing_package_is_one_sentence_before_anything_is_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: an ImportError after preflight; a folder of the package's name in the working directory taken for it."""
    (tmp_path / name).mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    real = importlib.util.find_spec
    monkeypatch.setattr(sinks, "find_spec", lambda package: None if package == name else real(package))
    with pytest.raises(UserError, match=rf"^train\.{name} is true, .* in a checkout: pip install '\.\[{name}\]'$"):
        start(micro_config(f"train.{name}=true"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(sinks, "find_spec", lambda _: type("Folder", (), {"origin": None}))
    with pytest.raises(UserError, match="is not installed"):
        start(micro_config(f"train.{name}=true"), tmp_path / "run")


def test_wandb_never_asks_for_a_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a prompt in the middle of a job; a key in the netrc file, or in the environment, that is not seen."""
    config = micro_config("train.wandb=true").train
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    sinks.check_sinks(config)
    monkeypatch.setenv("WANDB_MODE", "online")
    with pytest.raises(UserError, match='WANDB_MODE is "online", but there is no W&B key'):
        sinks.check_sinks(config)
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password secret\n")
    sinks.check_sinks(config)
    (tmp_path / "netrc").unlink()
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    sinks.check_sinks(config)


def test_the_flags_of_train_switch_sinks_on_and_off_and_a_resumed_run_may_change_them(
    atlas: Atlas, tmp_path: Path
) -> None:
    """Kills: a flag that sets the other field; a flag that is off by default and so overrules the file."""
    file, path = tmp_path / "micro.toml", tmp_path / "run"
    file.write_text(to_toml(micro_config("train.wandb=true")))
    words = ("train", "--config", file, "--out", path, *UNEXAMINED)
    assert atlas(*words, "--tensorboard", "--no-wandb", "--max-steps", 3).code == 0
    assert (path / "tensorboard").is_dir()
    assert not (path / "wandb").exists()
    again = ("train", "--out", path, "--resume", "auto", "--max-steps", 6)
    assert atlas(*again, "--no-tensorboard").code == 0
    assert max(step for step, _, _ in scalars(path)) == 3
