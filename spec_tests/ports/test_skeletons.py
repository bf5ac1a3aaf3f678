"""What `atlas port new` writes is a port in the place where it lies, and its first operation passes."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from atlas_ref.compiling import NoCompilerError, compiler
from atlas_ref.errors import UserError
from cli.port import Language, app
from spec_tests.port import PROFILES, Op
from spec_tests.ports.skeletons import LANGUAGES, Skeleton, write_skeleton
from spec_tests.process.check import check as examine
from spec_tests.process.client import ProcessPort
from spec_tests.process.load import load_port
from spec_tests.report.manifest import SUITE
from spec_tests.vectors.case import absent, load_cases
from spec_tests.vectors.judge import check


def built(language: str, folder: Path) -> Skeleton:
    """Write a port and build it; skip where its language is not installed."""
    if language == "javascript" and shutil.which("node") is None:
        pytest.skip("the port in JavaScript needs Node, which is not installed")
    if language == "triton":
        pytest.importorskip("torch")
        pytest.importorskip("triton")
    skeleton = write_skeleton(language, folder)
    if skeleton.before == "make":
        try:
            words = [f"CXX={' '.join(compiler('a port in C++'))}", "CXXFLAGS=-O0 -Werror"]
        except NoCompilerError as error:
            pytest.skip(str(error))
        subprocess.run(["make", *words], cwd=folder, check=True, capture_output=True, timeout=120)
    return skeleton


@pytest.mark.parametrize("language", ["python", "triton", "javascript", "cpp"])
def test_a_new_port_speaks_the_protocol_and_passes_every_case_of_its_operation(
    language: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a file that is left out; a name of the whole port in the new one; an operation that fails."""
    skeleton = built(language, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "my_port", raising=False)
    port = load_port(skeleton.port)
    try:
        declared = port.declare()
        assert (declared.name, declared.operations) == ("my-port", frozenset({Op.L2_NORMALIZE}))
        asked = [
            (case, numerics)
            for case in load_cases(op=Op.L2_NORMALIZE)
            for numerics in PROFILES
            if absent(declared, case, numerics) is None
        ]
        assert len(asked) > 10
        for case, numerics in asked:
            check(port, case, numerics)
        if isinstance(port, ProcessPort):
            assert {found.step: found.problem for found in examine(port) if found.problem} == {}
    finally:
        if isinstance(port, ProcessPort):
            port.close()


def test_the_command_has_every_language_and_says_what_to_do_next(tmp_path: Path) -> None:
    assert {str(each) for each in Language} == LANGUAGES.keys()
    done = CliRunner().invoke(app, ["new", "python", str(tmp_path / "mine")])
    assert done.exit_code == 0, done.output
    for command in LANGUAGES["python"].commands:
        assert command in " ".join(done.output.split())
        assert command in (tmp_path / "mine" / "README.md").read_text()


def test_nothing_that_is_there_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(UserError, match=r"holds README.md already"):
        write_skeleton("javascript", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    assert (tmp_path / "README.md").read_text() == "mine"


@pytest.mark.parametrize("language", LANGUAGES)
def test_its_workflow_asks_this_port_with_what_the_action_takes(language: str, tmp_path: Path) -> None:
    skeleton = write_skeleton(language, tmp_path)
    text = (tmp_path / ".github/workflows/conformance.yml").read_text()
    given = dict(re.findall(r"^          (\w+): (.*)$", text, re.MULTILINE))
    assert given["port"] == skeleton.port
    inputs = set(
        re.findall(
            r"^  (\w+):\n    description:", (SUITE.parent / "docs/conformance/action.yml").read_text(), re.MULTILINE
        )
    )
    assert given.keys() <= inputs
    assert ("- run: make\n" in text) == (language == "cpp")
    assert "# build" not in text
