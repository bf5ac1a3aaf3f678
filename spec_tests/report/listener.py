"""The plugin that hears what tests ask, and the making of `asked.json` from what it heard."""

import json
import os
from collections.abc import Generator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest

from atlas_ref.errors import UserError
from spec_tests.contract.asked import listening
from spec_tests.contract.operations import OPERATIONS
from spec_tests.port import Op
from spec_tests.process.load import REFERENCE
from spec_tests.report.asked import WITNESSES, Asked, Notes, stored, witnesses
from spec_tests.report.facets import Demand, demands
from spec_tests.report.launch import Launch

FOLDER: Final = "ATLAS_ASKED"
"""The variable that names a folder in which every test notes what it asked for."""


class Listener:
    """The plugin that listens to tests: to those that `asked.json` names, or to all where a folder is named."""

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
        """Hold a test that passed to what is said of it, and note what it asked for."""
        name = f"{pyfuncitem.path.stem}:{pyfuncitem.name}"
        folder, said = os.environ.get(FOLDER), witnesses().get(name, {})
        if not (folder or said):
            return (yield)
        notes = Notes()
        with listening(notes.hear):
            result = yield
        if folder:
            _write_note(Path(folder), name, notes.asked)
        else:
            check(name, said, notes.asked)
        return result


def check(name: str, said: Asked, asked: Asked) -> None:
    """Raise AssertionError where a test does not ask for what is said of it."""
    for op, words in said.items():
        missing = sorted(words - asked.get(op, frozenset()))
        assert not missing, f"{name} no longer asks {op} for {', '.join(missing)}; run atlas trace --write-asked"


def _write_note(folder: Path, name: str, asked: Asked) -> None:
    with (folder / f"{os.getpid()}.jsonl").open("a") as notes:
        notes.write(json.dumps([name, {op: sorted(words) for op, words in asked.items()}]) + "\n")


def rewrite_asked(jobs: str) -> int:
    """Write `asked.json` from a run of the tests on the reference; return how many tests it names."""
    with TemporaryDirectory() as folder:
        os.environ[FOLDER] = folder
        try:
            code = Launch(REFERENCE, (), jobs).run(quiet=True)
        finally:
            del os.environ[FOLDER]
        lines = [json.loads(line) for path in Path(folder).iterdir() for line in path.read_text().splitlines()]
    if not lines:
        raise UserError(f"the run of the reference ended with code {code} and asked nothing; mend the suite first.")
    heard = {name: {Op(op): frozenset(words) for op, words in asked.items()} for name, asked in sorted(lines)}
    chosen = choose(heard, stored())
    text = {name: {op: sorted(words) for op, words in asked.items()} for name, asked in chosen.items()}
    WITNESSES.write_text(json.dumps(text, indent=1) + "\n")
    witnesses.cache_clear()
    return len(chosen)


def choose(heard: Mapping[str, Asked], already: Asked) -> dict[str, dict[Op, set[str]]]:
    """Return the first tests that ask for what is demanded and not asked already, with what each is named for."""
    chosen: dict[str, dict[Op, set[str]]] = {}
    for op, row in OPERATIONS.items():
        for demand in demands(row):
            have = set(already.get(op, frozenset()))
            for name, asked in heard.items():
                if demand.met(have):
                    break
                if new := _helps(demand, asked.get(op, frozenset()) - have):
                    have |= new
                    chosen.setdefault(name, {}).setdefault(op, set()).update(new)
    return chosen


def _helps(demand: Demand, words: frozenset[str]) -> set[str]:
    """Return those of the words that a demand can use."""
    if demand.count == 1:
        return {demand.words} & words
    return set(sorted(word for word in words if word.startswith(demand.words))[: demand.count])
