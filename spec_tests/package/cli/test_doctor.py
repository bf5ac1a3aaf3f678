"""`atlas doctor`: what it finds, and what it does when something is broken.

Every test names the fault that was put into the program by hand and that it caught.
"""

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from cli import diagnosis
from cli.diagnosis import EXTRAS, Finding
from spec_tests.package.micro.command import Atlas

ROOT = Path(__file__).parents[3]


def as_json(atlas: Atlas) -> tuple[int, dict[str, Any], dict[str, Finding]]:
    """Return exit code, the object that was printed, and its findings by name."""
    ended = atlas("doctor", "--json")
    assert ended.err == ""
    found = json.loads(ended.out)
    return ended.code, found, {entry["name"]: Finding(**entry) for entry in found["findings"]}


def test_a_machine_that_can_train_is_healthy_with_its_versions(atlas: Atlas) -> None:
    """Kills: a version that is made up; a package that is left out; a verdict beside the findings."""
    code, found, findings = as_json(atlas)
    assert (code, found["ok"]) == (0, True)
    assert not [finding for finding in findings.values() if finding.status == "broken"]
    assert findings["torch"].found == torch.__version__
    assert findings["numpy"].found == numpy.__version__
    assert findings["python"].found == ".".join(map(str, sys.version_info[:3]))
    assert findings["product on cpu"].found == "right"
    assert findings["threads"].found == str(torch.get_num_threads())
    assert ("CUDA" in findings["torch build"].found) == (torch.version.cuda is not None)
    assert {"cores", "memory", "runs/", "cache", "triton"} < findings.keys()


def test_every_requirement_and_every_extra_of_the_package_is_looked_at(
    atlas: Atlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: an extra without a purpose; a requirement of an extra taken for one of everybody, or left out."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: listed for name, listed in project["optional-dependencies"].items() if name != "dev"}
    assert EXTRAS.keys() == extras.keys()
    # What is installed here may be of an older version of the file.
    marks = {one: " and" if ";" in one else ";" for listed in extras.values() for one in listed}
    written = [f'{one}{marks[one]} extra == "{name}"' for name, listed in extras.items() for one in listed]
    monkeypatch.setattr("cli.diagnosis.metadata.requires", lambda _: [*project["dependencies"], *written])
    _, _, findings = as_json(atlas)
    assert {re.split("[>=]", one)[0] for one in (*project["dependencies"], *written)} <= findings.keys()
    assert {findings[re.split("[>=]", one)[0]].status for one in project["dependencies"]} == {"ok"}


def test_it_fits_eighty_columns(atlas: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a line that is longer; a text that is cut; a name with brackets taken for markup."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("cli.diagnosis.diagnose", lambda: [Finding("x", "absent", "y" * 90, "[bold] note")])
    ended = atlas("doctor")
    assert (ended.code, max(map(len, ended.out.splitlines())) <= 80) == (0, True)
    assert ended.out.count("y") == 90
    assert "[bold] note" in ended.out


def test_a_torch_that_cannot_be_imported_is_named_with_exit_code_2(
    atlas: Atlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a traceback from the one command that is there for this; the same failure told by every probe."""
    monkeypatch.setitem(sys.modules, "torch", None)
    code, found, findings = as_json(atlas)
    assert (code, found["ok"]) == (2, False)
    assert [finding.name for finding in findings.values() if finding.status == "broken"] == ["import torch"]
    assert findings["cores"].status == "ok"
    assert "broken: import torch" in atlas("doctor").out.splitlines()[-1]


def test_a_package_that_is_missing_or_too_old_is_broken_only_where_it_is_needed(
    atlas: Atlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: versions that are not compared; an optional package that fails the machine."""
    versions = {"pydantic": "2.1", "safetensors": None, "matplotlib": None}
    real = diagnosis._version
    monkeypatch.setattr(diagnosis, "_version", lambda name: versions.get(name, real(name)))
    code, _, findings = as_json(atlas)
    assert code == 2
    assert (findings["pydantic"].status, findings["pydantic"].found) == ("broken", "2.1")
    assert "2.14" in findings["pydantic"].note
    assert (findings["safetensors"].status, findings["safetensors"].found) == ("broken", "absent")
    assert findings["matplotlib"].status == "absent"
    assert "'.[plot]'" in findings["matplotlib"].note


def test_a_place_that_cannot_be_written_is_broken_for_runs_alone(
    atlas: Atlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a place that is believed without being tried; a cache that stops the machine; files left behind."""
    monkeypatch.chdir(tmp_path)
    assert as_json(atlas)[2]["runs/"].status == "ok"
    assert list(tmp_path.iterdir()) == []

    def refuse(**options: Any) -> Any:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("cli.diagnosis.tempfile.TemporaryFile", refuse)
    code, _, findings = as_json(atlas)
    assert code == 2
    assert (findings["runs/"].status, findings["cache"].status) == ("broken", "absent")
    assert "Read-only file system" in findings["runs/"].found


def test_a_probe_that_fails_is_a_finding_and_not_the_end(atlas: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: an exception of a broken driver that hides all other findings."""

    def gpus() -> Iterator[Finding]:
        yield Finding("cuda:0", "ok", "there")
        raise RuntimeError("driver too old")

    monkeypatch.setattr(diagnosis, "gpus", gpus)
    code, _, findings = as_json(atlas)
    assert code == 2
    assert findings["gpus"] == Finding("gpus", "broken", "RuntimeError", "driver too old")
    assert {"cuda:0", "runs/"} < findings.keys()
