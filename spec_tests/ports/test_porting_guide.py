"""docs/porting.md does what it says: its blocks are run in order, in one directory, and print what stands below them.

A block's first line says what it is: `python file=NAME` (also cpp and toml) is written to that file, `sh` is run by
bash and ends with 0 or with `exit=CODE`, `text` stands in the output of the block before it, line by line and in order.
`needs=c++` marks what is left out where no compiler is.
"""

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from atlas_ref.compiling import NoCompilerError, compiler
from spec_tests.package.warm.start import warm_python
from spec_tests.ports.skeletons import LANGUAGES

GUIDE = Path(__file__).parents[2] / "docs" / "porting.md"
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SKELETONS = Path(__file__).parent / "skeletons"
COMPILER = "c++"
SECONDS, FIRST = 300, 120
"""Most seconds of a block, and of all that leads to the first passing operation: two minutes, as the guide says."""

pytestmark = pytest.mark.skipif(not GUIDE.is_file(), reason="the guide is in the source tree, not in the wheel")


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, what its first line says, and its text."""

    language: str
    info: dict[str, str]
    text: str


def blocks(end: str = "") -> list[Block]:
    """Return the blocks above a heading, all by default."""
    text = GUIDE.read_text()
    return [
        Block(language, dict(word.split("=", 1) for word in info.split()), text)
        for language, info, text in BLOCK.findall(text[: text.index(end)] if end else text)
    ]


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """The environment of the guide's reader: the command `atlas`, this suite, and one thread."""
    commands = tmp_path / "commands"
    commands.mkdir()
    for name, module in (("atlas", "-m cli.main"), ("python", "")):
        command = commands / name
        command.write_text(f'#!/bin/sh\nexec "{warm_python()}" {module} "$@"\n')
        command.chmod(0o755)
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("ATLAS_", "PYTEST_"))},
        "PATH": f"{commands}:{os.environ['PATH']}",
        "PYTHONPATH": str(GUIDE.parents[1]),
        "OMP_NUM_THREADS": "1",
        # What `atlas conform` takes for the number of cores: the tests beside this one already use them.
        "PYTEST_XDIST_AUTO_NUM_WORKERS": "0",
        "BASH_ENV": str(tmp_path / "commands" / "exported"),
    }


def run(block: Block, directory: Path, shell: dict[str, str], seconds: int = SECONDS) -> str:
    """Run a block of commands and return what it prints; what it exports is there for the next one."""
    script = f"set -eu\n{block.text}\nexport -p > {shell['BASH_ENV']}\n"
    done = subprocess.run(
        ["bash", "-c", script], cwd=directory, env=shell, capture_output=True, text=True, timeout=seconds, check=False
    )
    printed = done.stdout + done.stderr
    assert done.returncode == int(block.info.get("exit", 0)), f"{block.text}\nexits {done.returncode}:\n{printed}"
    return printed


def assert_printed(expected: str, printed: str) -> None:
    """Assert that the lines of `expected` stand in what was printed, in order."""
    place = 0
    for line in expected.splitlines():
        found = printed.find(line.strip(), place)
        assert found >= 0, f"the guide shows '{line}', but after byte {place} there is only:\n{printed[place:]}"
        place = found + len(line.strip())


@pytest.mark.parametrize(
    "end",
    [
        pytest.param("\n## In a compiled language\n", id="in Python"),
        pytest.param("", marks=pytest.mark.exhaustive, id="all"),
    ],
)
def test_every_block_does_what_the_guide_says(end: str, tmp_path: Path, shell: dict[str, str]) -> None:
    try:
        shell["CXX"] = " ".join(compiler("the guide's program"))
        left_out = ""
    except NoCompilerError:
        left_out = COMPILER
    reader = tmp_path / "reader"
    reader.mkdir()
    printed: str | None = None
    for block in blocks(end):
        if block.language == "sh":
            absent = block.info.get("needs") == COMPILER == left_out
            printed = None if absent else run(block, reader, shell)
        elif block.language == "text":
            assert_printed(block.text, printed or block.text)
        else:
            (reader / block.info["file"]).write_text(block.text)


@pytest.mark.exhaustive
@pytest.mark.parametrize("language", ["python", "cpp", "javascript"])
def test_what_a_new_port_says_to_type_leads_to_an_operation_that_passes_within_two_minutes(
    language: str, tmp_path: Path, shell: dict[str, str]
) -> None:
    """Kills: a command that does not run where the port lies; a first operation that fails or is never asked."""
    if language == "cpp":
        try:
            shell["CXX"] = " ".join(compiler("a port in C++"))
        except NoCompilerError as error:
            pytest.skip(str(error))
    if language == "javascript" and shutil.which("node") is None:
        pytest.skip("the port in JavaScript needs Node, which is not installed")
    reader = tmp_path / "reader"
    reader.mkdir()
    commands = [f"atlas port new {language} .", *LANGUAGES[language].commands]
    # 3 is "incomplete": one operation of many.
    run(Block("sh", {"exit": "3"}, "\n".join(commands)), reader, shell, FIRST)
    results = json.loads((reader / "conformance" / "report.json").read_text())["results"]
    outcomes = {
        each["outcome"]
        for each in results
        if each["kind"] == "vector" and {asked["operation"] for asked in each["asked"]} == {"l2_normalize"}
    }
    assert outcomes == {"pass"}


def test_every_block_says_what_it_is_and_the_first_ports_are_short() -> None:
    found = blocks()
    assert len(found) == GUIDE.read_text().count("\n```") / 2
    for block in found:
        assert block.language in ("sh", "text") or "file" in block.info, f"a block of no known kind:\n{block.text}"
        assert set(block.info) <= {"file", "exit", "needs"}, f"unknown: {block.info}"
    first = {name: (SKELETONS / name).read_text().count("\n") for name in ("python/my_port.py", "cpp/my_port.cpp")}
    assert max(first.values()) <= 64
