"""What the guides say can be checked: the tests that they name exist, their code runs, their fields are fields."""

import ast
import re
from pathlib import Path

import pytest

from atlas_ref.config import RunConfig
from atlas_ref.config_errors import dotted_names

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
        known = set().union(*(defined_tests(TESTS / file) for file in files))
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
