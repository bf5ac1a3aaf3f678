"""Which files of tests ask a port, and whether a run of pytest selects all of them."""

import ast
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from spec_tests.discovery import files_of_tests
from spec_tests.report.manifest import SUITE


def takes_port(node: ast.stmt) -> bool:
    """Return whether a statement defines a test that takes the fixture `port`."""
    if not (isinstance(node, ast.FunctionDef) and node.name.startswith("test_")):
        return False
    return "port" in [argument.arg for argument in node.args.args]


@cache
def chapter_files() -> tuple[Path, ...]:
    """Return the files with tests that ask a port: those of the chapters, and that of the stored vectors."""
    files = (*files_of_tests(), SUITE / "vectors" / "test_vectors.py")
    return tuple(path for path in files if any(takes_port(node) for node in ast.parse(path.read_text()).body))


@cache
def places_that_ask() -> frozenset[Path]:
    """Return those files and every folder above one of them: where a run that judges a port has to look."""
    files = chapter_files()
    return frozenset(files).union(*(path.parents for path in files))


def selects_everything(config: pytest.Config) -> bool:
    """Return whether the command line leaves no conformance case out."""
    option = config.option
    narrowed = (
        option.keyword or option.markexpr or option.deselect or option.ignore or option.ignore_glob or option.maxfail
    )
    again = any(getattr(option, name, False) for name in ("lf", "stepwise"))
    if narrowed or again:
        return False
    chosen = {path.resolve() for argument in config.args for path in _paths(config, argument)}
    files = [file.resolve() for file in chapter_files()]
    return all(file in chosen or not chosen.isdisjoint(file.parents) for file in files)


def _paths(config: pytest.Config, argument: str) -> Iterator[Path]:
    """Yield where an argument leads, if it is a whole file or folder, or the name of a module with `--pyargs`."""
    path = config.invocation_params.dir / argument
    if "::" not in argument and path.exists():
        yield path
    elif config.option.pyargs and "::" not in argument:
        found = find_spec(argument)
        if found and found.origin:
            origin = Path(found.origin)
            yield origin.parent if origin.name == "__init__.py" else origin
