"""The certificate: what it holds for, and that nothing in it, or around it, changes unnoticed.

Every test names the fault that was put into the program by hand and that it caught.
"""

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import atlas_ref
from atlas_ref.config.changes import CHANGEABLE
from preflight import certificate as certificates
from preflight.budget import default_budget
from preflight.certificate import (
    Binding,
    Certificate,
    CertificateError,
    bind,
    cache_file,
    check_certificate,
    code_digest,
    issue,
    save_certificate,
)
from preflight.result import Verdict
from spec_tests.package.micro.runs import micro_config
from spec_tests.port import SPEC_VERSION
from spec_tests.preflight.gates import NAMES, result_of

BUDGET = default_budget(micro_config())


def binding(*overrides: str) -> Binding:
    return bind(micro_config(*overrides), "cpu", "healthy")


def certificate(*verdicts: Verdict) -> Certificate:
    results = [result_of(name, verdict) for name, verdict in zip(NAMES, verdicts or [Verdict.PASS] * 2, strict=False)]
    return issue(binding(), 7, BUDGET, results)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A valid certificate in a file."""
    path = tmp_path / "run" / "preflight.json"
    save_certificate(certificate(), path)
    return path


def leaf_paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where each value of a JSON tree is that holds no other."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    inner = list(entries)
    for key, below in inner:
        yield from leaf_paths(below, (*path, key))
    if not inner:
        yield path


def edited(value: Any) -> Any:
    """Return another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return f"{value}x" if isinstance(value, str) else 1


def test_a_certificate_survives_its_file_and_holds_for_what_it_was_issued_for(saved: Path) -> None:
    """Kills: NaN written as null; seals over a spelling that reading does not give back; a lost result."""
    found = check_certificate(saved, binding(), NAMES)
    assert found.to_json() == certificate().to_json() == saved.read_text()
    assert (found.seed, found.budget, len(found.gates)) == (7, BUDGET, 2)
    saved.write_text(json.dumps(json.loads(saved.read_text()), sort_keys=True))
    assert check_certificate(saved, binding(), NAMES) == found


def test_no_value_inside_can_be_edited_and_the_part_is_named(saved: Path) -> None:
    """Kills: a part without a seal (seed, budget, evidence, a seal itself); a message that does not say which part."""
    whole = json.loads(saved.read_text())
    paths = list(leaf_paths(whole))
    assert len(paths) > 150
    for path in paths:
        raw = copy.deepcopy(whole)
        place = raw
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = edited(place[path[-1]])
        saved.write_text(json.dumps(raw))
        with pytest.raises(CertificateError) as caught:
            check_certificate(saved, binding(), NAMES)
        name = whole["gates"][path[1]]["gate"] if path[0] == "gates" else str(path[1] if len(path) > 1 else path[0])
        told = str(caught.value)
        assert name in told or ".".join(map(str, path[:2])) in told, path
        assert str(saved) in told
        assert "\n" not in told


def test_a_value_that_is_added_or_taken_away_is_noticed(saved: Path) -> None:
    """Kills: seals that are compared only where both sides have one; a gate that failed and was cut out."""
    whole = json.loads(saved.read_text())
    for part in ("seed", "budget", "gates", "seals"):
        saved.write_text(json.dumps({name: value for name, value in whole.items() if name != part}))
        with pytest.raises(CertificateError, match=part):
            check_certificate(saved, binding(), NAMES)
    saved.write_text(json.dumps({**whole, "gates": whole["gates"][:1]}))
    with pytest.raises(CertificateError, match=r"gates\.second-gate is not what preflight wrote"):
        check_certificate(saved, binding(), NAMES[:1])
    for changed in ({**whole, "note": 1}, {**whole, "budget": {**whole["budget"], "extra": 1}}):
        saved.write_text(json.dumps(changed))
        with pytest.raises(CertificateError, match=r"note|budget\.extra"):
            check_certificate(saved, binding(), NAMES)


@pytest.mark.parametrize(
    ("override", "difference"),
    [
        ("model.memory.chunk=16", "model.memory.chunk was 8 and is 16"),
        ("optim.learning_rate=0.003", "optim.learning_rate was 0.002 and is 0.003"),
        ("train.precision='bf16'", 'train.precision was "fp32" and is "bf16"'),
        ("train.max_steps=7", "train.max_steps was 6 and is 7"),
        ("train.seed=1", "train.seed was 0 and is 1"),
    ],
)
def test_another_configuration_is_refused_with_the_field_that_differs(
    saved: Path, override: str, difference: str
) -> None:
    """Kills: a comparison of some sections only; a message that says only that something differs."""
    with pytest.raises(CertificateError) as caught:
        check_certificate(saved, binding(override), NAMES)
    assert str(caught.value) == (
        f"{saved}: is no certificate for this run: {difference}. Where the file is removed, preflight runs anew."
    )


def test_many_differences_are_cut_short_and_counted(saved: Path) -> None:
    """Kills: a message of a hundred fields; a count that is off."""
    other = bind(
        micro_config(*(f"optim.{name}=0.5" for name in ("beta1", "beta2", "weight_decay", "max_norm"))), "", ""
    )
    with pytest.raises(CertificateError, match=r"; and 2 more\. Where") as caught:
        check_certificate(saved, other, (*NAMES, "third", "fourth"))
    assert str(caught.value).count(" was ") == 6


@pytest.mark.parametrize(
    ("field", "named"),
    [
        ("package_version", "the version of atlas-spec was {} and is other"),
        ("specification", "the version of the specification was {} and is other"),
        ("torch", "the version of torch was {} and is other"),
        ("device", "the device was {} and is other"),
        ("subject", "the subject was {} and is other"),
        ("code", "the source code of atlas_ref or preflight was another"),
    ],
)
def test_another_version_code_device_or_subject_is_refused_and_named(saved: Path, field: str, named: str) -> None:
    """Kills: each field of the binding left out of the comparison, or of the hash, in turn."""
    wanted = binding().model_copy(update={field: "other"})
    with pytest.raises(CertificateError) as caught:
        check_certificate(saved, wanted, NAMES)
    assert named.format(getattr(binding(), field)) in str(caught.value)
    assert wanted.key != binding().key


def test_a_binding_says_what_is_running_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a version written down twice; a specification whose version is not that of its tests."""
    found = binding()
    assert (found.package_version, found.torch, found.device) == (atlas_ref.__version__, torch.__version__, "cpu")
    assert found.specification == SPEC_VERSION
    assert found.config == json.loads(json.dumps(micro_config().model_dump()))
    monkeypatch.setattr(atlas_ref, "__version__", "9.9")
    assert binding().package_version == "9.9"


def test_fields_that_a_resumed_run_may_change_do_not_matter_where_they_are_named(saved: Path) -> None:
    """Kills: a list of changeable fields that is ignored, or that lets every field through."""
    check_certificate(saved, binding("train.max_steps=9", "train.log_interval=4"), NAMES, CHANGEABLE)
    with pytest.raises(CertificateError, match="max_steps was 6 and is 9"):
        check_certificate(saved, binding("train.max_steps=9"), NAMES)
    with pytest.raises(CertificateError, match=r"run: train\.seed was 0 and is 1\. Where"):
        check_certificate(saved, binding("train.seed=1", "train.max_steps=9"), NAMES, CHANGEABLE)


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.INCONCLUSIVE])
def test_a_gate_that_did_not_pass_or_was_not_run_is_refused(tmp_path: Path, verdict: Verdict) -> None:
    """Kills: INCONCLUSIVE taken for PASS; only the first gate looked at; a missing gate taken for one that passed."""
    path = tmp_path / "preflight.json"
    save_certificate(certificate(Verdict.PASS, verdict), path)
    with pytest.raises(CertificateError, match=rf"run: the gate second-gate is {verdict}\. Where"):
        check_certificate(path, binding(), NAMES)
    save_certificate(certificate(Verdict.PASS), path)
    with pytest.raises(CertificateError, match=r"run: the gate second-gate was not run\. Where"):
        check_certificate(path, binding(), NAMES)


@pytest.mark.parametrize(
    "contents",
    [b"", b"{", b"null", b"[]", b"3", b"{}", b"\xff\xfe", b'{"format": "atlas-preflight-0"}', b'{"gates": [1]}'],
)
def test_a_file_that_is_no_certificate_gives_one_sentence(saved: Path, contents: bytes) -> None:
    """Kills: a traceback of JSON, of Unicode or of pydantic; a message over several lines."""
    saved.write_bytes(contents)
    with pytest.raises(CertificateError) as caught:
        check_certificate(saved, binding(), NAMES)
    assert str(caught.value).startswith(f"{saved}: is ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(saved)) + 200


def test_a_second_result_of_a_gate_is_refused_wherever_it_stands(saved: Path) -> None:
    """Kills: the last of two entries taken, in the seals too, so that a FAIL before a PASS is never seen."""
    whole = json.loads(saved.read_text())
    failed = json.loads(certificate(Verdict.FAIL).to_json())["gates"][0]
    for gates in ([failed, *whole["gates"]], [*whole["gates"], whole["gates"][0]]):
        saved.write_text(json.dumps({**whole, "gates": gates}))
        with pytest.raises(CertificateError, match="a gate has two results"):
            check_certificate(saved, binding(), NAMES)


def test_a_certificate_cut_anywhere_is_refused(saved: Path) -> None:
    """Kills: a reader that is content with the part it could read."""
    whole = saved.read_text().rstrip()
    for length in range(0, len(whole), 97):
        saved.write_text(whole[:length])
        with pytest.raises(CertificateError):
            check_certificate(saved, binding(), NAMES)


def test_a_write_that_is_interrupted_leaves_the_certificate_before_it(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: writing into the file itself."""

    def interrupted(source: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_certificate(certificate(Verdict.FAIL), saved)
    check_certificate(saved, binding(), NAMES)


def test_the_cache_is_the_users_and_has_a_place_for_each_binding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: XDG_CACHE_HOME ignored, or taken where it is relative; one file for all configurations."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_file(binding()) == tmp_path / "atlas-spec" / "preflight" / f"{binding().key}.json"
    assert cache_file(binding("train.seed=1")) != cache_file(binding())
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for ignored in ("", "relative/place"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert cache_file(binding()).parents[2] == tmp_path / "home" / ".cache"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_file(binding()).parents[2] == tmp_path / "home" / ".cache"


def test_the_code_is_known_by_the_text_and_the_names_of_its_files(tmp_path: Path) -> None:
    """Kills: names or subdirectories left out of the checksum; a border between two files that can move."""
    trees = {
        "one": {"a.py": "x = 1\n", "sub/b.py": "y = 2\n"},
        "text": {"a.py": "x = 2\n", "sub/b.py": "y = 2\n"},
        "below": {"a.py": "x = 1\n", "sub/b.py": "y = 3\n"},
        "name": {"a.py": "x = 1\n", "sub/c.py": "y = 2\n"},
        "border": {"a.py": "x = 1\ny = 2\n", "sub/b.py": ""},
        "same": {"a.py": "x = 1\n", "sub/b.py": "y = 2\n", "notes.txt": "no code"},
    }
    digests = {}
    for tree, files in trees.items():
        for name, text in files.items():
            file = tmp_path / tree / "package" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        digests[tree] = code_digest((tmp_path / tree / "package",))
    assert digests["same"] == digests["one"]
    assert len(set(digests.values())) == len(trees) - 1
    assert {package.name for package in certificates.PACKAGES} == {"atlas_ref", "preflight"}
