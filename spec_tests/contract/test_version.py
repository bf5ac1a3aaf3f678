"""A port of an older version of the specification is asked the cases of that version, one of another is refused."""

from dataclasses import replace

import pytest

from atlas_ref.errors import UserError
from spec_tests.contract import version
from spec_tests.contract.version import is_asked, parse_version
from spec_tests.port import SPEC_VERSION, Op
from spec_tests.report.manifest import Manifest
from spec_tests.report.samples import entry
from spec_tests.report.scope import Scope


@pytest.mark.parametrize("text", ["9.9", "1.0", "0.99", "0", "0.0", "0.01", "0.1.0", "0.1 ", "", "0.\uff11", "v0.1"])
def test_a_version_that_the_suite_does_not_have_is_one_sentence(text: str) -> None:
    with pytest.raises(UserError, match=f"'{text}'") as refused:
        parse_version(text)
    assert "\n" not in str(refused.value)


def test_every_version_up_to_the_suite_s_own_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_version(SPEC_VERSION) == int(SPEC_VERSION.partition(".")[2])
    monkeypatch.setattr(version, "SPEC_VERSION", "0.12")
    assert [parse_version(text) for text in ("0.1", "0.9", "0.12")] == [1, 9, 12]
    assert is_asked("0.9", "0.12")
    assert not is_asked("0.12", "0.9")
    with pytest.raises(UserError, match=r"0\.1 to 0\.12"):
        parse_version("0.13")


def test_a_port_is_asked_no_case_that_is_younger_than_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "SPEC_VERSION", "0.3")
    old = entry("test_a:test_old", 0, Op.NEWTON_SCHULZ)
    cases = (old, old.model_copy(update={"id": "test_a:test_young", "since": "0.2"}))
    manifest = Manifest(spec_version="0.3", vectors_sha256="", cases=cases)
    asked = {each: set(manifest.asked(replace(Scope(), version=each))) for each in ("0.1", "0.2", "0.3")}
    assert asked == {"0.1": {old.id}, "0.2": {each.id for each in cases}, "0.3": {each.id for each in cases}}
