"""Runs as the page is told of them: how they stand, what lies beside their log, and what is damaged or gone."""

import fcntl
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from atlas_ref.storage.lock import hold
from atlas_ref.watching.kill_switches import Kill
from cli.dashboard.liveness import LOCKS, is_held
from cli.dashboard.watched import Watch
from preflight.result import Check, GateResult, Side, Verdict
from spec_tests.package.cli.made_runs import killed, made
from spec_tests.package.micro.runs import SKIPPED

KILL = Kill(
    switch="loss_spike",
    layer=None,
    metric="loss",
    subject="loss",
    value=9.5,
    low=float("-inf"),
    high=3.25,
    since=4,
    step=5,
    patience=2,
    history=(2.0, 9.5),
    cause="a step that was too large",
)
CHECK = Check(
    name="memory outlasts attention",
    statistic=96.0,
    side=Side.AT_LEAST,
    threshold=8.0,
    can_fail=True,
    interval=None,
    verdict=Verdict.PASS,
    sentence="half of what is written lasts 96 tokens",
)
GATE = GateResult(gate="proof-of-life", verdict=Verdict.PASS, checks=(CHECK,), evidence={}, seconds=2.5)


def told(place: Path, **known: Any) -> dict[str, Any]:
    watch = Watch([place])
    (row,) = watch.rows()
    run = watch.find(row["id"])
    assert run is not None
    return run.told(**{"generation": 0, "since": 0, "known": "", **known})


@contextmanager
def unlocked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Refuse every lock meanwhile."""

    def refused(*arguments: object) -> None:
        raise AssertionError(f"a lock was tried: {arguments}")

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", refused)
        yield


@pytest.mark.skipif(not LOCKS.exists(), reason="this system does not list its locks")
def test_a_run_is_alive_while_its_lock_is_held_and_the_lock_is_not_touched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Kills: a lock that is tried, so that a training which begins in that moment is refused; any lock for this one."""
    path, other = made(tmp_path / "run"), tmp_path / "other"
    with hold(other, print), unlocked(monkeypatch):
        assert told(path)["state"] == "interrupted"
    with hold(path / ".lock", print), unlocked(monkeypatch):
        assert told(path)["state"] == "running"
    assert told(path)["state"] == "interrupted"


def test_without_a_list_of_locks_nothing_is_claimed(tmp_path: Path) -> None:
    """Kills: a run that is called interrupted where nobody can know."""
    assert is_held(tmp_path / ".lock", tmp_path / "no list") is None


def test_kills_gates_samples_and_starts_are_told_as_their_files_say(tmp_path: Path) -> None:
    """Kills: a report that is not shown, a part of another run, the oldest sample first."""
    path = made(tmp_path / "run")
    report = {"step": 5, "kills": [json.loads(KILL.model_dump_json())], "last_good_checkpoint": "checkpoints/step-3"}
    (path / "kill.json").write_text(json.dumps(report))
    (path / "preflight.json").write_text(json.dumps({"gates": [json.loads(GATE.model_dump_json())]}))
    lines = [{"step": n, "prompt": "A:", "text": f"b{n}\x1b[2J", "ended": n == 2} for n in (1, 2)]
    (path / "samples.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines) + '{"step": 3, "pro')
    (path / "env.json").write_text(json.dumps([{"first_step": 1, "command": ["x/atlas", "train"], "torch": "2.13"}]))
    found = told(path)
    reports = found["reports"]
    assert found["state"] == "killed by loss_spike at step 5"
    (kill,) = reports["kill"]["kills"]
    assert kill == {"switch": "loss_spike", "sentence": KILL.sentence(), "cause": KILL.cause}
    assert reports["kill"]["checkpoint"] == "checkpoints/step-3"
    (gate,) = reports["gates"]
    assert gate["headline"] == "half of what is written lasts 96 tokens; 8 are needed"
    assert gate["checks"] == [{"name": CHECK.name, "verdict": "PASS", "numbers": "96, at least 8"}]
    assert [(each["step"], each["text"], each["ended"]) for each in reports["samples"]] == [
        (2, "b2\\x1b[2J", True),
        (1, "b1\\x1b[2J", False),
    ]
    assert reports["starts"] == [{"step": 1, "command": "atlas train", "torch": "2.13"}]
    assert reports["skipped"] is None
    assert reports["notes"] == found["notes"] == []


def test_what_did_not_change_is_not_told_again(tmp_path: Path) -> None:
    """Kills: reports in every answer; a changed report that nobody hears of."""
    path = made(tmp_path / "run")
    watch = Watch([path])
    (row,) = watch.rows()
    run = watch.find(row["id"])
    assert run is not None
    first = run.told(0, 0, "")
    assert first["reports"]["skipped"] == SKIPPED
    again = run.told(first["generation"], first["since"], first["version"])
    assert again["reports"] is None
    assert again["columns"] == {}
    killed(path)
    assert run.told(first["generation"], first["since"], first["version"])["reports"]["kill"]["step"] == 5
    # Whoever knows another log is told all of this one.
    assert run.told(first["generation"] + 1, 6, "")["columns"] == first["columns"]


def folder_in_the_place_of(file: Path) -> None:
    file.unlink()
    file.mkdir()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "config cut off": lambda run: (run / "config.toml").write_text((run / "config.toml").read_text()[:300]),
    "config of text": lambda run: (run / "config.toml").write_text("train = 'a word'"),
    "no config": lambda run: (run / "config.toml").unlink(),
    "kill of another shape": lambda run: (run / "kill.json").write_text('{"step": 5, "kills": []}'),
    "kill cut off": lambda run: (run / "kill.json").write_text('{"step": 5, "ki'),
    "certificate of another version": lambda run: (run / "preflight.json").write_text('{"gates": [{"gate": "a"}]}'),
    "environment of text": lambda run: (run / "env.json").write_text('"a word"'),
    "samples of numbers": lambda run: (run / "samples.jsonl").write_text("3\n"),
    "summary of a list": lambda run: (run / "summary.json").write_text("[]"),
    "log of bytes": lambda run: (run / "metrics.jsonl").write_bytes(bytes(range(256)) + b"\n"),
    "log is a folder": lambda run: folder_in_the_place_of(run / "metrics.jsonl"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_is_a_sentence_and_costs_no_other(kind: str, tmp_path: Path) -> None:
    """Kills: a page that breaks at a file which is being written, or is of another version."""
    path = made(tmp_path / "run")
    DAMAGE[kind](path)
    found = told(path)
    notes = [*found["notes"], *found["reports"]["notes"]]
    assert notes or found["state"].startswith("damaged")
    assert all("\n" not in note and "Traceback" not in note for note in notes)
    if "log" not in kind:
        assert found["columns"]["train/loss"]["steps"] == [1, 2, 3, 4, 5, 6]


def test_runs_that_come_and_go_are_listed_as_they_stand(tmp_path: Path) -> None:
    """Kills: a run that began later and never appears; one that was removed and ends the page."""
    watch = Watch([tmp_path, tmp_path / "later"])
    assert [(row["name"], row["state"]) for row in watch.rows()] == [
        (tmp_path.name, "not there yet"),
        ("later", "not there yet"),
    ]
    made(tmp_path / "study" / "one")
    made(tmp_path / "later")
    listed = {row["name"]: row for row in watch.rows()}
    assert set(listed) == {"study/one", "later"}
    assert listed["later"]["step"] == 6
    assert listed["later"]["loss"] == pytest.approx(4.4)
    shutil.rmtree(tmp_path / "later")
    states = {row["name"]: row["state"] for row in watch.rows()}
    assert states == {"study/one": "interrupted", "later": "gone"}
    shutil.rmtree(tmp_path / "study" / "one")
    assert {row["name"]: row["state"] for row in watch.rows()} == {"study/one": "gone", "later": "gone"}
    run = watch.find(listed["later"]["id"])
    assert run is not None
    assert run.told(0, 0, "")["state"] == "gone"
