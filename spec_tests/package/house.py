"""The rooms of this repository and the imports between them: which room may use which.

A room is a package; of the implementation and of the suite, each folder is one, and each file beside the folders.
Tests are left out: a test may look into any room. Imports by name (`import_module`) are no arrows.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("atlas_ref", "preflight", "cli", "spec_tests", "benchmarks")
DIVIDED: Final = ("atlas_ref", "spec_tests")
LONGEST: Final = 300
"""Lines that a Python file may have."""
MOST_LINES: Final = 60
"""Lines that a function may have."""
BUCKETS: Final = frozenset(("util", "utils", "helper", "helpers", "common", "misc", "stuff", "around", "sights"))
"""Words of names that say where something was put, and not what it is about."""
Arrows = dict[str, set[str]]


def files(root: Path = ROOT) -> Iterator[Path]:
    """Yield the modules that are no tests."""
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            of_tests = path.is_relative_to(root / "spec_tests" / "package") or path.name == "conftest.py"
            if path.relative_to(root).parts[1:] != ("__init__.py",) and not (of_tests or path.name.startswith("test_")):
                yield path


def room_of(module: str) -> str:
    """Return the room of a module: its package, or the folder or file below a divided one."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] in DIVIDED else parts[0]


def imported(path: Path) -> Iterator[str]:
    """Yield the full names that a file imports from the packages; of a package, the module or the name in it."""
    yield from seen(path.read_text(encoding="utf-8")).imports


class Seen(NamedTuple):
    """What a file imports, and the lines of each of its functions."""

    imports: tuple[str, ...]
    functions: dict[str, int]


@cache
def seen(source: str) -> Seen:
    """Return what the tests of the house ask of a source text, which is parsed once."""
    imports: list[str] = []
    functions: dict[str, int] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            imports += (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Import):
            imports += (name.name for name in node.names)
        elif isinstance(node, ast.FunctionDef):
            functions[node.name] = max(functions.get(node.name, 0), _lines(node))
    return Seen(tuple(imports), functions)


def _lines(function: ast.FunctionDef) -> int:
    """Return the lines of a function; of a kernel its body, as its arguments, a line each, can be no object."""
    kernel = any(isinstance(mark, ast.Name) and mark.id == "compiled" for mark in function.decorator_list)
    first = function.body[0].lineno if kernel else function.lineno
    return (function.end_lineno or 0) - first + 1


def arrows(root: Path = ROOT) -> Arrows:
    """Return the rooms that each room uses."""
    found: Arrows = {}
    for path in files(root):
        here = room_of(".".join(path.relative_to(root).with_suffix("").parts))
        used = found.setdefault(here, set())
        for name in imported(path):
            if name.split(".")[0] in PACKAGES and _exists(root, room_of(name)):
                used.add(room_of(name))
        used.discard(here)
    return {room: used & found.keys() for room, used in found.items()}


def _exists(root: Path, room: str) -> bool:
    place = root / room.replace(".", "/")
    return place.is_dir() or place.with_suffix(".py").is_file()


def rows(found: Arrows) -> list[list[str]]:
    """Return the rooms in rows, so that every arrow leads down; ValueError where some go in a circle."""
    left, placed = dict(found), list[list[str]]()
    while left:
        free = sorted(room for room, used in left.items() if not used & left.keys())
        if not free:
            raise ValueError(f"a circle of rooms is among {', '.join(sorted(left))}")
        placed.insert(0, free)
        left = {room: used for room, used in left.items() if room not in free}
    return placed


def needed(found: Arrows) -> Arrows:
    """Return the arrows that no longer way implies, for a picture; there must be no circle."""

    def below(room: str) -> set[str]:
        return found[room].union(*(below(other) for other in found[room]))

    reached = {room: below(room) for room in found}
    return {
        room: {other for other in used if not any(other in reached[via] for via in used)}
        for room, used in found.items()
    }


def folders(found: Arrows, root: Path = ROOT) -> Arrows:
    """Return the rooms that are folders, and the arrows between them."""
    kept = {room for room in found if (root / room.replace(".", "/")).is_dir()}
    return {room: found[room] & kept for room in kept}


def bucket_names(root: Path = ROOT) -> list[str]:
    """Return the files and folders whose name says where something was put and not what it is about."""
    found = (path for package in PACKAGES for path in (root / package).rglob("*"))
    return sorted(str(path.relative_to(root)) for path in found if set(path.stem.split("_")) & BUCKETS)


def long_files(root: Path = ROOT) -> dict[str, int]:
    """Return the lines of every Python file that has more than LONGEST."""
    paths = (path for package in PACKAGES for path in (root / package).rglob("*.py"))
    lines = {str(path.relative_to(root)): path.read_text(encoding="utf-8").count("\n") for path in paths}
    return {name: count for name, count in lines.items() if count > LONGEST}


def long_functions(root: Path = ROOT) -> dict[str, int]:
    """Return the lines (`_lines`) of every function that has more than MOST_LINES, its docstring included."""
    return {
        f"{path.relative_to(root)}::{name}": lines
        for package in PACKAGES
        for path in (root / package).rglob("*.py")
        for name, lines in seen(path.read_text(encoding="utf-8")).functions.items()
        if lines > MOST_LINES
    }


def importers(module: str, root: Path = ROOT) -> set[str]:
    """Return the files that import a module or a name of it; tests and what is only for them are left out."""
    return {
        str(path.relative_to(root))
        for path in files(root)
        if any(name == module or name.startswith(f"{module}.") for name in imported(path))
    }
