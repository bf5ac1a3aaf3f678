"""`atlas preflight`, and `atlas train` in front of its gates: who may start, who may not, and what is said.

The gates here are fakes that cost nothing; that the real ones can fail is tested beside them. Every test names the
fault that was put into the program by hand and that it caught.
"""

import json
from pathlib import Path

import pytest

from atlas_ref.config import RunConfig, load_config
from atlas_ref.storage.checkpoint import Checkpoint, find_checkpoint
from atlas_ref.training.clipping import NonFiniteError
from preflight.budget import default_budget
from preflight.certificate import Certificate, bind, cache_file, check_certificate
from preflight.gates import Gate
from preflight.meaning import meaning_of
from preflight.result import GateResult, Verdict
from preflight.subject import HEALTHY, Budget, Subject
from spec_tests.package.micro.command import Atlas
from spec_tests.package.micro.runs import start
from spec_tests.preflight.examined import in_cache, short_config
from spec_tests.preflight.gates import NAMES, Gates, result_of

pytestmark = pytest.mark.usefixtures("cache")


def test_preflight_runs_every_gate_and_keeps_the_certificate(
    atlas: Atlas, gates: Gates, micro: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a gate left out; another seed or subject than the healthy one; a certificate that train does not find;
    what PASS means on one line, which a terminal cuts inside a word.
    """
    monkeypatch.setenv("COLUMNS", "80")
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
    assert [line.split()[:2] for line in lines[: len(NAMES)]] == [["PASS", name] for name in NAMES]
    assert lines[len(NAMES)] == "examined in chunks of 8 tokens"
    assert " ".join(lines[len(NAMES) + 1 : -1]) == meaning_of(config)
    assert max(map(len, lines[len(NAMES) :])) <= 80
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
    assert set(raw) == {"format", "binding", "seed", "budget", "gates", "meaning", "seals"}
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
