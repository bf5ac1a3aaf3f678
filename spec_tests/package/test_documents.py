"""What the guides say can be checked: the tests that they name exist, their code runs, their fields are fields."""

import ast
import re
from pathlib import Path

import pytest

from atlas_ref.config import RunConfig
from atlas_ref.config.errors import dotted_names
from spec_tests.package.micro.command import Atlas
from spec_tests.package.micro.runs import UNEXAMINED, micro_config, micro_file, saved_bytes, start

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "training.md"
TESTS = Path(__file__).parent


def defined_tests(path: Path) -> set[str]:
    """Return the names of the test functions of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def named_files(text: str) -> list[str]:
    return re.findall(r"`(test_\w+\.py)`", text)


def test_every_test_that_the_training_guide_names_exists_in_a_file_that_its_line_names() -> None:
    """Kills: a criterion whose test was renamed or removed."""
    rows = [line for line in GUIDE.read_text(encoding="utf-8").splitlines() if line.startswith("| ") and ".py`" in line]
    assert len(rows) == 9
    for row in rows:
        files = named_files(row)
        known = set().union(*(defined_tests(path) for file in files for path in TESTS.rglob(file)))
        names = re.findall(r"`(test_\w+)`", row)
        assert set(names) <= known, f"{set(names) - known} is in none of {files}"


def test_every_field_that_the_training_guide_names_is_a_field() -> None:
    """Kills: a field that was renamed in the configuration and not in the guide."""
    known = set(dotted_names(RunConfig))
    named = re.findall(r"`((?:model|optim|data|train)\.[a-z_.]+)`", GUIDE.read_text(encoding="utf-8"))
    assert len(named) > 10
    assert set(named) <= known


@pytest.mark.parametrize("document", ["docs/training.md", "README.md"])
def test_the_code_of_a_document_runs(document: str) -> None:
    """Kills: an example of an interface that is gone."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, document, "exec"), {"__name__": "example"})


def test_the_run_that_the_readme_makes_longer_is_bit_for_bit_the_long_one(atlas: Atlas, tmp_path: Path) -> None:
    """Kills: an example of a longer run beside "the same" whose learning rate depends on its end.

    The two commands as printed, with a small model and a hundredth of the steps."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    small = micro_file(tmp_path / "small.toml")
    commands = re.findall(r"^    atlas (train .*--out runs/open)\b", text, re.MULTILINE)
    assert len(commands) == 2
    for command, more in zip(commands, (["--config", small], []), strict=True):
        words = command.replace("00 ", " ").replace("runs/open", str(tmp_path / "open")).split()
        ended = atlas(*words, *more, *UNEXAMINED)
        assert ended.code == 0, ended.err

    (schedule,) = re.findall(r"optim\.schedule=\w+", commands[0])
    start(micro_config("train.max_steps=6", schedule), tmp_path / "whole")
    assert saved_bytes(tmp_path / "open") == saved_bytes(tmp_path / "whole")
