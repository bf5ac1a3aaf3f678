"""`atlas preflight`, and `atlas train` in front of its gates: who may start, who may not, and what is said.

The gates here are fakes that cost nothing; that the real ones can fail is tested beside them. Every test names the
fault that was put into the program by hand and that it caught.
"""

import json
import re
from pathlib import Path

import pytest
import torch

import atlas_ref
from atlas_ref.config import RunConfig, load_config, to_toml
from atlas_ref.storage.checkpoint import Checkpoint, find_checkpoint, saved_steps
from atlas_ref.training.step import NonFiniteError
from preflight.budget import default_budget
from preflight.certificate import Certificate, bind, cache_file, check_certificate, issue, save_certificate
from preflight.gates import Gate
from preflight.result import GateResult, Verdict
from preflight.subject import HEALTHY, Budget, Subject
from spec_tests.package.micro.command import Atlas, in_this_process
from spec_tests.package.micro.runs import SKIPPED, UNEXAMINED, micro_config, saved_bytes, start
from spec_tests.preflight.gates import NAMES, Gates, put_in_place, result_of

REASON = "an ablation, on purpose"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache, in a place of the test's own."""
    path = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(path))
    return path


@pytest.fixture
def atlas(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Atlas:
    """The command line inside this process."""
    return in_this_process(monkeypatch, capsys)


@pytest.fixture
def gates(monkeypatch: pytest.MonkeyPatch) -> Gates:
    """Two gates that pass until they are told otherwise."""
    return put_in_place(monkeypatch)


@pytest.fixture
def micro(tmp_path: Path) -> Path:
    """A small config as a file, of two steps."""
    path = tmp_path / "micro.toml"
    path.write_text(to_toml(short_config()))
    return path


def short_config(*overrides: str) -> RunConfig:
    return micro_config("train.max_steps=2", *overrides)


def certificate_for(config: RunConfig, device: str = "cpu") -> Certificate:
    results = [result_of(name, Verdict.PASS) for name in NAMES]
    return issue(bind(config, device, HEALTHY.name), config.train.seed, default_budget(config), results)


def in_cache(cache: Path) -> list[Path]:
    return list(cache.rglob("*.json"))


def test_preflight_runs_every_gate_and_keeps_the_certificate(
    atlas: Atlas, gates: Gates, micro: Path, cache: Path, tmp_path: Path
) -> None:
    """Kills: a gate left out; another seed or subject than the healthy one; a certificate that train does not find."""
    out = tmp_path / "run" / "preflight.json"
    ended = atlas("preflight", "--config", micro, "--seed", "5", "--set", "train.log_interval=1", "--out", out)

    assert (ended.code, ended.err) == (0, "")
    config = short_config("train.seed=5", "train.log_interval=1")
    expected = default_budget(config)
    assert gates.calls == [(name, config, HEALTHY, 5, expected) for name in NAMES]
    assert in_cache(cache) == [cache_file(bind(config, "cpu", "healthy"))]
    for path in (out, *in_cache(cache)):
        check_certificate(path, bind(config, "cpu", "healthy"), NAMES)
    lines = ended.out.splitlines()
    assert [line.split()[:2] for line in lines[:-1]] == [["PASS", name] for name in NAMES]
    assert lines[-1] == "atlas preflight --details shows every check"
    assert "\x1b" not in ended.out


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.INCONCLUSIVE])
def test_preflight_exits_3_when_a_gate_does_not_pass_and_says_which_and_why(
    atlas: Atlas, gates: Gates, micro: Path, cache: Path, verdict: Verdict
) -> None:
    """Kills: exit code 0 or 1; INCONCLUSIVE that passes; gates after the failed one not run; a bad one in the cache."""
    gates.verdicts["first-gate"] = verdict
    ended = atlas("preflight", "--config", micro)

    assert ended.code == 3
    assert ended.err == f"Error: preflight: the gate first-gate is {verdict}.\n"
    found = {line.split()[1]: line.split()[0] for line in ended.out.splitlines()[:2]}
    assert found == {"first-gate": verdict, "second-gate": "PASS"}
    assert f"the margin is {verdict}" in ended.out
    assert in_cache(cache) == []


def test_json_is_the_whole_certificate_and_nothing_else(
    atlas: Atlas, gates: Gates, micro: Path, tmp_path: Path
) -> None:
    """Kills: other lines on standard output; NaN as a bare word, which is not JSON; a result or a field left out."""
    gates.verdicts["second-gate"] = Verdict.FAIL
    out = tmp_path / "found.json"
    ended = atlas("preflight", "--config", micro, "--json", "--out", out)

    def refuse(word: str) -> None:
        raise AssertionError(word)

    assert ended.code == 3
    raw = json.loads(ended.out, parse_constant=refuse)
    assert json.loads(out.read_text()) == raw
    results = tuple(result_of(name, gates.verdicts[name]) for name in NAMES)
    assert Certificate.model_validate(raw).gates == tuple(
        GateResult.model_validate_json(result.model_dump_json()) for result in results
    )
    assert raw["binding"]["config"] == short_config().model_dump(mode="json")
    assert set(raw) == {"format", "binding", "seed", "budget", "gates", "seals"}
    fields = "name statistic side threshold can_fail interval verdict sentence"
    assert set(raw["gates"][0]["checks"][0]) == set(fields.split())


def test_some_gates_can_be_run_alone_which_is_no_certificate(
    atlas: Atlas, gates: Gates, micro: Path, cache: Path, tmp_path: Path
) -> None:
    """Kills: --gate that runs all; a part of the gates kept as a certificate, or taken for one by train."""
    out = tmp_path / "run" / "preflight.json"
    twice = ("--gate", "second-gate", "--gate", "second-gate")
    ended = atlas("preflight", "--config", micro, *twice, "--out", out)
    assert (ended.code, [call[0] for call in gates.calls]) == (0, ["second-gate"])
    assert "not every gate was run: this is no certificate to train with" in ended.out
    assert in_cache(cache) == []
    refused = atlas("train", "--config", micro, "--out", out.parent)
    assert (refused.code, "the gate first-gate was not run" in refused.err) == (3, True)
    unknown = atlas("preflight", "--gate", "third-gate")
    assert (unknown.code, unknown.err) == (
        2,
        'Error: --gate "third-gate": is not a gate; the gates are first-gate, second-gate.\n',
    )


def test_the_budget_on_the_command_line_reaches_the_gates_and_the_certificate(
    atlas: Atlas, gates: Gates, micro: Path
) -> None:
    """Kills: two flags exchanged; a flag that nothing reads; a default that a flag overwrites with nothing."""
    flags = ("--probe-steps", "11", "--batches", "12", "--sequence-length", "13", "--batch-size", "14", "--json")
    ended = atlas("preflight", "--config", micro, *flags)
    assert {call[4] for call in gates.calls} == {Budget(11, 12, 13, 14)}
    assert json.loads(ended.out)["budget"] == {
        "probe_steps": 11,
        "batches": 12,
        "sequence_length": 13,
        "batch_size": 14,
    }
    gates.calls.clear()
    atlas("preflight", "--config", micro, "--batches", "12")
    expected = default_budget(short_config())
    assert {call[4] for call in gates.calls} == {
        Budget(expected.probe_steps, 12, expected.sequence_length, expected.batch_size)
    }


def test_a_budget_has_the_size_of_the_config_within_what_gates_need_and_bear() -> None:
    """Kills: rows too short for recall; a single row, which cannot be swapped; a minute that becomes an hour, by length
    or by Newton-Schulz.
    """
    short = default_budget(short_config("data.sequence_length=16", "train.batch_size=1"))
    assert (short.sequence_length, short.batch_size) == (128, 2)
    own = default_budget(short_config("data.sequence_length=200", "train.batch_size=5"))
    assert (own.sequence_length, own.batch_size) == (200, 5)
    long = default_budget(load_config("shakespeare-10m"))
    assert (long.sequence_length, long.batch_size) == (256, 8)
    assert short.probe_steps == long.probe_steps > 100
    assert short.batches == long.batches > 2
    for orthogonalised in (load_config("tnt-atlas"), load_config("atlas-340m")):
        assert default_budget(orthogonalised) == short


def test_a_donor_reaches_the_gate_that_takes_one(
    atlas: Atlas, gates: Gates, micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: --seed-from that nothing reads, that reaches another gate, or that is silently of no use."""
    start(short_config(), tmp_path / "donor")
    donors: list[Checkpoint | None] = []

    def seeded(
        config: RunConfig, subject: Subject, seed: int, budget: Budget, donor: Checkpoint | None = None
    ) -> GateResult:
        donors.append(donor)
        return result_of("seed-competition", Verdict.PASS)

    monkeypatch.setattr("preflight.seed_competition.seed_competition", seeded)
    monkeypatch.setattr("preflight.gates.GATES", {**gates.table(), "seed-competition": seeded})
    assert atlas("preflight", "--config", micro, "--seed-from", tmp_path / "donor").code == 0
    assert donors == [find_checkpoint(tmp_path / "donor")]
    assert [call[0] for call in gates.calls] == list(NAMES)
    for options in (("--gate", NAMES[0], "--seed-from", tmp_path / "donor"), ("--seed-from", tmp_path / "nowhere")):
        refused = atlas("preflight", "--config", micro, *options)
        assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert len(donors) == 1


def test_ctrl_c_ends_preflight_with_exit_code_130(atlas: Atlas, micro: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a gate that is not interrupted; a traceback; a certificate of the gates before."""

    def interrupted(config: RunConfig, subject: Subject, seed: int, budget: Budget) -> GateResult:
        raise KeyboardInterrupt

    monkeypatch.setattr("preflight.gates.GATES", {"first-gate": interrupted})
    assert atlas("preflight", "--config", micro).code == 130
    assert atlas("train", "--config", micro, "--out", micro.parent / "run").code == 130
    assert not (micro.parent / "run").exists()


def test_a_gate_whose_numbers_stop_being_finite_is_a_refusal(
    atlas: Atlas, micro: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a traceback of a probe that diverges."""

    def diverging(config: RunConfig, subject: Subject, seed: int, budget: Budget) -> GateResult:
        raise NonFiniteError(3, "loss", "the loss", float("nan"))

    table: dict[str, Gate] = {"first-gate": diverging}
    monkeypatch.setattr("preflight.gates.GATES", table)
    ended = atlas("preflight", "--config", micro)
    assert (ended.code, ended.err) == (3, "Error: preflight: first-gate: the loss is nan at step 3\n")


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
