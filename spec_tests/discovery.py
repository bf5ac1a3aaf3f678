"""Chapters are found, not listed: what the suite knows is put together from the folders of `spec_tests.chapters`.

A chapter is a package there, named by the word of its concept. It has what it needs of five pieces:

    operation.py      ROWS      its rows of the table of operations (`spec_tests.contract.operations`)
    oracle.py         ANSWERS   what each operation is in numpy loops; SLOPES, where derivatives need more than a step
    cases.py          STORED    the questions that are stored as cases (`spec_tests.vectors.sources`)
    faults.py         FAULTS    seeded defects, each with its sentence and origin (`spec_tests.faults.catalogue`)
    test_<word>.py              the tests that ask a port

Chapters come in the order of their words. They are imported by name, so no arrow leads from here to any of them.
"""

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Final

CHAPTERS: Final = "spec_tests.chapters"


def words() -> list[str]:
    """Return the names of the chapters in order."""
    return sorted(module.name for module in iter_modules(import_module(CHAPTERS).__path__) if module.ispkg)


def furniture(piece: str) -> Iterator[ModuleType]:
    """Yield the module `piece` of every chapter that has one."""
    for word in words():
        name = f"{CHAPTERS}.{word}.{piece}"
        if find_spec(name) is not None:
            yield import_module(name)


def modules_of_tests() -> dict[str, str]:
    """Return the files of tests of all chapters: the name of each, which is unique, and its full name."""
    found: dict[str, str] = {}
    for word in words():
        folder = f"{CHAPTERS}.{word}"
        for module in iter_modules(import_module(folder).__path__):
            if module.name.startswith("test_"):
                found[module.name] = f"{folder}.{module.name}"
    return found


def files_of_tests() -> list[Path]:
    """Return the paths of the files of tests of all chapters, in order of their names."""
    specs = [find_spec(name) for _, name in sorted(modules_of_tests().items())]
    return [Path(spec.origin) for spec in specs if spec and spec.origin]
