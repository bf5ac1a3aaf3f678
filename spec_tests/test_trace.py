"""Sentences, tests and faults belong together: none stands without the other two."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from spec_tests.faults.catalogue import CATALOGUE

HERE = Path(__file__).parent
SPEC = HERE.parent / "docs" / "spec"
SENTENCE = re.compile(r"\[([A-Z][A-Z0-9]*-[0-9.]+)\]")

pytestmark = pytest.mark.skipif(not SPEC.is_dir(), reason="the chapters are in the source tree, not in the wheel")


def sentences() -> list[str]:
    return [found for chapter in sorted(SPEC.glob("*.md")) for found in SENTENCE.findall(chapter.read_text())]


def marked(function: ast.FunctionDef) -> frozenset[str]:
    """Return the sentences named by `@pytest.mark.spec(...)` above a function."""
    calls = [node for node in function.decorator_list if isinstance(node, ast.Call)]
    marks = [call for call in calls if ast.unparse(call.func) == "pytest.mark.spec"]
    return frozenset(str(ast.literal_eval(argument)) for mark in marks for argument in mark.args)


def port_tests() -> Iterator[tuple[str, frozenset[str], bool]]:
    """Yield name, sentences, and whether it takes a port, of every test that does or that names sentences."""
    for path in sorted(HERE.glob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                takes_port = "port" in [argument.arg for argument in node.args.args]
                if takes_port or marked(node):
                    yield f"{path.stem}:{node.name}", marked(node), takes_port


def test_every_sentence_is_numbered_once_and_has_a_test_and_a_fault() -> None:
    numbered = sentences()
    tested = {sentence for _, ids, _ in port_tests() for sentence in ids}
    broken = {fault.requirement for fault in CATALOGUE}
    assert len(numbered) == len(set(numbered)), "a sentence is numbered twice"
    assert set(numbered) - tested == set(), "sentences without a test"
    assert set(numbered) - broken == set(), "sentences without a fault"


def test_every_test_of_a_port_holds_known_sentences_and_kills_a_fault() -> None:
    known = set(sentences())
    killers = {fault.killed_by for fault in CATALOGUE}
    for name, ids, takes_port in port_tests():
        assert ids <= known, f"{name} names unknown sentences"
        assert not takes_port or ids, f"{name} names no sentence"
        assert not takes_port or name in killers, f"no fault is killed by {name}"


def test_every_fault_breaks_a_sentence_that_its_test_holds() -> None:
    held = {name: ids for name, ids, _ in port_tests()}
    for fault in CATALOGUE:
        assert fault.killed_by in held, f"{fault.id}: there is no test {fault.killed_by}"
        assert fault.requirement in held[fault.killed_by], f"{fault.id}: its test does not hold {fault.requirement}"
