"""`atlas train` in front of its gates: who may start, who may not, and what every report says of it.

Every test names the fault that was put into the program by hand and that it caught.
"""

import json
import re
from pathlib import Path

import pytest
import torch

import atlas_ref
from atlas_ref.config import RunConfig
from atlas_ref.storage.checkpoint import find_checkpoint, saved_steps
from preflight.budget import default_budget
from preflight.certificate import Certificate, bind, cache_file, check_certificate, issue, save_certificate
from preflight.result import Verdict
from preflight.subject import HEALTHY
from spec_tests.package.micro.command import Atlas
from spec_tests.package.micro.runs import SKIPPED, UNEXAMINED, saved_bytes, start
from spec_tests.preflight.examined import in_cache, short_config
from spec_tests.preflight.gates import NAMES, Gates, result_of

pytestmark = pytest.mark.usefixtures("cache")


REASON = "an ablation, on purpose"


def certificate_for(config: RunConfig, device: str = "cpu") -> Certificate:
    results = [result_of(name, Verdict.PASS) for name in NAMES]
    return issue(bind(config, device, HEALTHY.name), config.train.seed, default_budget(config), results)


def test_train_runs_preflight_once_and_the_next_run_of_the_same_config_starts_at_once(
    atlas: Atlas, gates: Gates, micro: Path, tmp_path: Path
) -> None:
    """Kills: training without gates; a certificate that is not written into the run; a cache that is never read."""
    first = atlas("train", "--config", micro, "--out", tmp_path / "a")
    assert first.code == 0, first.err
    assert [call[0] for call in gates.calls] == list(NAMES)
    assert re.search("PASS +first-gate", first.out)
    assert first.out.index("running preflight") < first.out.index("step 1/2")
    second = atlas("train", "--config", micro, "--out", tmp_path / "b")
    assert second.code == 0, second.err
    assert len(gates.calls) == len(NAMES)
    assert f"preflight passed: {tmp_path / 'cache'}" in second.out
    for name in ("a", "b"):
        check_certificate(tmp_path / name / "preflight.json", bind(short_config(), "cpu", "healthy"), NAMES)
        assert find_checkpoint(tmp_path / name).preflight_skipped is None
    other = atlas("train", "--config", micro, "--out", tmp_path / "c", "--seed", "1")
    assert (other.code, len(gates.calls)) == (0, 2 * len(NAMES))


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.INCONCLUSIVE])
def test_train_exits_3_when_a_gate_does_not_pass_and_leaves_nothing_behind(
    atlas: Atlas, gates: Gates, micro: Path, cache: Path, tmp_path: Path, verdict: Verdict
) -> None:
    """Kills: training all the same; a run directory made first; a table that is not shown."""
    gates.verdicts["second-gate"] = verdict
    ended = atlas("train", "--config", micro, "--out", tmp_path / "run")
    assert ended.code == 3
    assert ended.err.startswith(f"Error: preflight: the gate second-gate is {verdict}. Nothing was trained")
    assert re.search(f"{verdict} +second-gate", ended.out)
    assert not (tmp_path / "run").exists()
    assert in_cache(cache) == []


def test_a_certificate_in_the_run_directory_lets_the_run_start_at_once(
    atlas: Atlas, gates: Gates, micro: Path, tmp_path: Path
) -> None:
    """Kills: a directory with a certificate taken for a run, or for foreign files; gates that run all the same."""
    run = tmp_path / "run"
    save_certificate(certificate_for(short_config()), run / "preflight.json")
    text = (run / "preflight.json").read_text()
    ended = atlas("train", "--config", micro, "--out", run)
    assert ended.code == 0, ended.err
    assert f"preflight passed: {run / 'preflight.json'}" in ended.out
    assert gates.calls == []
    assert (run / "preflight.json").read_text() == text
    assert find_checkpoint(run).step == 2


def test_a_stale_certificate_is_refused_with_the_difference_and_never_replaced(
    atlas: Atlas, gates: Gates, micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a stale certificate ignored, or replaced by a fresh one; exit code 2; a message without the field."""
    run = tmp_path / "run"
    file = run / "preflight.json"

    def refuses(*changes: str) -> str:
        text = file.read_text()
        ended = atlas("train", "--config", micro, "--out", run, *changes)
        assert ended.code == 3
        assert ended.err.startswith(f"Error: {file}: ")
        assert ended.err.count("\n") == 1
        assert [path.name for path in run.iterdir()] == ["preflight.json"]
        assert file.read_text() == text
        return ended.err

    save_certificate(certificate_for(short_config()), file)
    assert "model.memory.chunk was 8 and is 4" in refuses("--set", "model.memory.chunk=4")
    assert "train.log_interval was 2 and is 3" in refuses("--set", "train.log_interval=3")
    save_certificate(certificate_for(short_config(), device="cuda"), file)
    assert "the device was cuda and is cpu" in refuses()
    with monkeypatch.context() as other:
        other.setattr(atlas_ref, "__version__", "0.0.9")
        save_certificate(certificate_for(short_config()), file)
    assert f"the version of atlas-spec was 0.0.9 and is {atlas_ref.__version__}" in refuses()
    with monkeypatch.context() as other:
        other.setattr(torch, "__version__", "1.0")
        save_certificate(certificate_for(short_config()), file)
    assert "the version of torch was 1.0 and is " in refuses()
    save_certificate(certificate_for(short_config()), file)
    file.write_text(file.read_text().replace('"d_model": 32', '"d_model": 64'))
    edited = refuses()
    assert "binding.config is not what preflight wrote" in edited
    assert "model.d_model was 64 and is 32" in edited
    file.write_text(certificate_for(short_config()).to_json().replace('"statistic": 0.5', '"statistic": 0.75', 1))
    assert "gates.first-gate is not what preflight wrote" in refuses()
    file.write_text("{")
    assert "is not JSON" in refuses()
    assert gates.calls == []


def test_an_edited_certificate_in_the_cache_is_refused_too(
    atlas: Atlas, gates: Gates, micro: Path, tmp_path: Path
) -> None:
    """Kills: a cache that is trusted because of the name of its file."""
    certificate = certificate_for(short_config())
    path = cache_file(certificate.binding)
    save_certificate(certificate, path)
    path.write_text(path.read_text().replace('"threshold": 0.25', '"threshold": 0.1', 1))
    ended = atlas("train", "--config", micro, "--out", tmp_path / "run")
    assert ended.code == 3
    assert f"Error: {path}: is no certificate for this run: gates.first-gate is not what preflight wrote." in ended.err
    assert gates.calls == []
    assert not (tmp_path / "run").exists()


def test_a_cache_that_cannot_be_written_stops_nothing(atlas: Atlas, gates: Gates, micro: Path, cache: Path) -> None:
    """Kills: a home directory that is read-only, which makes every run fail after its gates passed."""
    cache.write_text("a file where the directory should be")
    ended = atlas("train", "--config", micro, "--out", micro.parent / "run")
    assert ended.code == 0, ended.err
    assert "the certificate is not kept in " in ended.err
    assert (micro.parent / "run" / "preflight.json").exists()
    assert gates.calls != []


def test_a_mistake_is_found_before_any_gate_runs(atlas: Atlas, gates: Gates, micro: Path, tmp_path: Path) -> None:
    """Kills: a minute of preflight in front of a misspelt path, a directory in use, or a file in its place."""
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").write_text("")
    mistakes = (
        ("--data", tmp_path / "nowhere.txt"),
        ("--out", tmp_path / "used"),
        ("--out", tmp_path / "micro.toml" / "run"),
        ("--skip-preflight", " \n"),
    )
    for options in mistakes:
        place = () if "--out" in options else ("--out", tmp_path / "run")
        ended = atlas("train", "--config", micro, *place, *options)
        assert (ended.code, ended.err.count("\n")) == (2, 1), ended.err
        assert not (tmp_path / "run").exists()
    assert "--skip-preflight needs a reason" in ended.err
    assert gates.calls == []


def test_the_reason_for_skipping_is_stored_and_shown_in_every_report(
    atlas: Atlas, gates: Gates, micro: Path, tmp_path: Path
) -> None:
    """Kills: the reason left out of checkpoint, summary, environment, eval, or the start of a resumed run."""
    run = tmp_path / "run"
    line = f"preflight was skipped: {REASON}\n"
    ended = atlas("train", "--config", micro, "--out", run, "--skip-preflight", f"  an ablation,\n{REASON[13:]} ")
    assert ended.code == 0, ended.err
    assert ended.out.count(line) == 2
    assert json.loads((run / "summary.json").read_text())["preflight_skipped"] == REASON
    assert [start["preflight_skipped"] for start in json.loads((run / "env.json").read_text())] == [REASON]
    assert not (run / "preflight.json").exists()
    assert atlas("eval", run).out.endswith(line)
    assert json.loads(atlas("eval", run, "--json").out)["preflight_skipped"] == REASON
    resumed = atlas("train", "--resume", run, "--max-steps", "3")
    assert (resumed.code, resumed.out.count(line)) == (0, 2), resumed.err
    branch = tmp_path / "branch"
    older = run / "checkpoints" / "step-00000002"
    again = atlas("train", "--resume", older, "--out", branch, "--skip-preflight", "and again")
    assert again.code == 0, again.err
    assert json.loads((branch / "summary.json").read_text())["preflight_skipped"] == f"{REASON}; and again"
    assert gates.calls == []


def test_a_run_with_a_certificate_says_so_in_its_reports(
    atlas: Atlas, gates: Gates, micro: Path, tmp_path: Path
) -> None:
    """Kills: a line about skipping where nothing was skipped."""
    ended = atlas("train", "--config", micro, "--out", tmp_path / "run")
    assert ended.code == 0, ended.err
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["preflight_skipped"] is None
    assert json.loads(atlas("eval", tmp_path / "run", "--json").out)["preflight_skipped"] is None
    for text in (ended.out, atlas("eval", tmp_path / "run").out):
        assert "skipped" not in text
    assert len(gates.calls) == len(NAMES)


def test_a_resumed_run_needs_no_second_preflight_but_a_whole_certificate(
    atlas: Atlas, gates: Gates, micro: Path, tmp_path: Path
) -> None:
    """Kills: gates that run again for more steps; a resumed or branched run that asks for no certificate."""
    run = tmp_path / "run"
    assert atlas("train", "--config", micro, "--out", run).code == 0
    gates.calls.clear()
    longer = atlas("train", "--resume", run, "--max-steps", "3", "--set", "train.log_interval=1")
    assert longer.code == 0, longer.err
    older = run / "checkpoints" / "step-00000002"
    assert atlas("train", "--resume", older, "--out", tmp_path / "branch").code == 0
    assert (tmp_path / "branch" / "preflight.json").read_text() == (run / "preflight.json").read_text()
    assert gates.calls == []
    before = saved_bytes(run)
    file = run / "preflight.json"
    file.write_text(file.read_text().replace('"statistic": 0.5', '"statistic": 0.75', 1))
    for options in (("--resume", run, "--max-steps", "4"), ("--resume", older, "--out", tmp_path / "other")):
        refused = atlas("train", *options)
        assert (refused.code, f"Error: {file}: " in refused.err) == (3, True)
    assert saved_bytes(run) == before
    assert list(saved_steps(run / "checkpoints")) == [2, 3]
    assert not (tmp_path / "other").exists()
    skipped = atlas("train", "--resume", run, "--max-steps", "4", "--skip-preflight", REASON)
    assert (skipped.code, find_checkpoint(run).preflight_skipped) == (0, REASON)


def test_a_run_that_was_started_without_certificate_keeps_its_reason_for_the_library_too(tmp_path: Path) -> None:
    """Kills: a reason that only the command line stores."""
    start(short_config(), tmp_path / "run")
    assert UNEXAMINED[1] == SKIPPED == find_checkpoint(tmp_path / "run").preflight_skipped
