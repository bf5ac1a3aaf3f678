"""A certificate whose seals were computed anew: what its own numbers and its configuration say against it.

Every test names the fault that was put into the program by hand and that it caught.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from atlas_ref.config import to_toml
from preflight import certificate as certificates
from preflight.budget import default_budget
from preflight.certificate import CertificateError, bind, check_certificate, issue, save_certificate
from preflight.result import Check, Interval, Verdict, at_least, at_most, conclude, powered
from preflight.subject import Budget
from spec_tests.package.micro.command import in_this_process
from spec_tests.package.micro.runs import micro_config
from spec_tests.preflight.gates import put_in_place, result_of

GATE = "first-gate"
CONFIG = micro_config("train.max_steps=2")
OWN = default_budget(CONFIG)
BINDING = bind(CONFIG, "cpu", "healthy")


def across(low: float, high: float) -> Interval:
    return Interval(low=low, high=high, confidence=0.99)


def forge(path: Path, check: Check, change: dict[str, Any]) -> None:
    """Write a certificate of one check in which something is changed, the gate's verdict follows, and all is sealed."""
    raw = json.loads(issue(BINDING, 0, OWN, [conclude(GATE, [check], {}, 1.0)]).to_json())
    raw["gates"][0]["checks"][0] |= change
    raw["gates"][0]["verdict"] = raw["gates"][0]["checks"][0]["verdict"]
    raw["seals"] = certificates._seals(raw)
    path.write_text(json.dumps(raw))


@pytest.mark.parametrize(
    ("check", "change", "truth"),
    [
        (at_least("margin", 9.0, 0.5, ""), {"statistic": -9.0}, Verdict.FAIL),
        (at_least("margin", 9.0, 0.5, ""), {"statistic": "NaN"}, Verdict.FAIL),
        (at_least("margin", -9.0, 0.5, ""), {"verdict": "PASS"}, Verdict.FAIL),
        (at_least("margin", -9.0, 0.5, ""), {"verdict": "INCONCLUSIVE"}, Verdict.FAIL),
        (at_most("margin", 0.1, 0.5, ""), {"threshold": 0.05}, Verdict.FAIL),
        (at_most("margin", 0.1, 0.5, ""), {"side": "at least"}, Verdict.FAIL),
        (at_least("margin", 0.6, 0.5, "", across(0.4, 0.8)), {"verdict": "PASS"}, Verdict.INCONCLUSIVE),
        (at_most("margin", 0.2, 0.5, "", across(0.1, 0.3)), {"statistic": 9.0}, Verdict.INCONCLUSIVE),
        (powered("margin", 0.2, 0.5, ""), {"verdict": "PASS"}, Verdict.INCONCLUSIVE),
        (powered("margin", 0.2, 0.5, ""), {"can_fail": True}, Verdict.FAIL),
    ],
)
def test_a_verdict_that_its_numbers_do_not_bear_out_is_refused_with_gate_and_check(
    tmp_path: Path, check: Check, change: dict[str, Any], truth: Verdict
) -> None:
    """Kills: verdicts that are believed; a side, an interval or a lack of power that is not asked for."""
    file = tmp_path / "preflight.json"
    forge(file, check, {})
    if check.verdict is Verdict.PASS:
        check_certificate(file, BINDING, [GATE])
    forge(file, check, change)
    with pytest.raises(CertificateError) as caught:
        check_certificate(file, BINDING, [GATE])
    said = change.get("verdict", check.verdict)
    assert f'the check "margin" of {GATE} says {said}, but its numbers say {truth}: ' in str(caught.value)
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize("name", asdict(OWN))
def test_a_smaller_budget_admits_no_run_and_a_larger_one_does(tmp_path: Path, name: str) -> None:
    """Kills: four PASS of one batch and one step each; one of the four numbers not asked for; a larger one refused."""
    file = tmp_path / "preflight.json"
    own = asdict(OWN)[name]

    def spend(amount: int) -> None:
        save_certificate(issue(BINDING, 0, replace(OWN, **{name: amount}), [result_of(GATE, Verdict.PASS)]), file)
        check_certificate(file, BINDING, [GATE])

    spend(own)
    spend(own + 1)
    with pytest.raises(CertificateError, match=rf"{name} of its budget is {own - 1}, and {own} is the least that"):
        spend(own - 1)


def test_a_preflight_on_a_smaller_budget_says_that_it_is_no_certificate_and_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kills: a quick look kept in the cache, which the next training of the same config would trip over."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    put_in_place(monkeypatch)
    atlas = in_this_process(monkeypatch, capsys)
    config = tmp_path / "micro.toml"
    config.write_text(to_toml(CONFIG))
    ended = atlas("preflight", "--config", config, "--probe-steps", "3")
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[-1] == (
        f"probe_steps of its budget is 3, and {OWN.probe_steps} is the least that admits a run: "
        "this is no certificate to train with"
    )
    assert list(tmp_path.rglob("*.json")) == []


def test_a_budget_that_is_none_is_refused(tmp_path: Path) -> None:
    """Kills: a part of the budget that is left out, and so is smaller than nothing."""
    file = tmp_path / "preflight.json"
    raw = json.loads(issue(BINDING, 0, Budget(1, 1, 1, 1), [result_of(GATE, Verdict.PASS)]).to_json())
    changes: tuple[Callable[[dict[str, Any]], object], ...] = (
        lambda budget: budget.pop("batches"),
        lambda budget: budget.update(batches="many"),
    )
    for change in changes:
        forged = json.loads(json.dumps(raw))
        change(forged["budget"])
        forged["seals"] = certificates._seals(forged)
        file.write_text(json.dumps(forged))
        with pytest.raises(CertificateError, match=r"budget\.batches"):
            check_certificate(file, BINDING, [GATE])
