"""The manifest: every conformance case there is, so that a run which asks fewer can be seen to.

It is written from a run of the reference port (`atlas trace --write`). The level of a property is the lowest at which
the suite can ask it of a port that has nothing above: a property that compares two operations needs both, one that
holds for each form of an operation by itself needs one.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Final, Literal

from atlas_ref.errors import UserError
from spec_tests.contract.version import FIRST, is_asked
from spec_tests.port import SPEC_VERSION, Numerics, Op
from spec_tests.report.model import Frozen, Result
from spec_tests.report.scope import GRADIENT_LEVEL, Scope
from spec_tests.vectors.case import load_cases, verify

SUITE: Final = Path(__file__).parent.parent
MANIFEST: Final = Path(__file__).with_name("manifest.json")
VECTORS: Final = SUITE / "vectors" / "data" / "MANIFEST.json"


class Entry(Frozen):
    """One case of the manifest; a stored vector is asked once in each of its precisions, a property once.

    `since` is the first version of the specification that has it: ports written for an older one are not asked.
    """

    id: str
    kind: Literal["vector", "property"]
    level: int
    operations: tuple[Op, ...]
    numerics: tuple[Numerics, ...]
    requirements: tuple[str, ...]
    since: str = FIRST

    def asked(self, scope: Scope) -> tuple[str, ...]:
        """Return the ids of the results that a run of this scope must have."""
        if self.level > scope.level or not is_asked(self.since, scope.version):
            return ()
        numerics = [each for each in self.numerics if each in scope.numerics]
        if self.kind == "vector":
            return tuple(f"{self.id}/{each}" for each in numerics)
        return (self.id,) if numerics else ()


class Manifest(Frozen):
    """All cases, and the hash of the stored vectors they were counted with."""

    spec_version: str
    vectors_sha256: str
    cases: tuple[Entry, ...]

    def asked(self, scope: Scope) -> dict[str, Entry]:
        """Return the id of every result that a run of this scope must have, with its entry."""
        return {each: entry for entry in self.cases for each in entry.asked(scope)}


def sha256(path: Path) -> str:
    """Return the hash of a file, or an empty text where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def read_manifest() -> Manifest:
    """Return the manifest that the suite ships with; without one, a manifest of no case."""
    if not MANIFEST.is_file():
        return Manifest(spec_version=SPEC_VERSION, vectors_sha256=sha256(VECTORS), cases=())
    return Manifest.model_validate_json(MANIFEST.read_text())


def digest_of_cases(operations: Collection[str]) -> str:
    """Return a hash of all cases that ask one of these operations: of their lines, and of the files of the stored ones.

    It stays the same where cases of other operations come or go.
    """
    lines = [
        entry.model_dump_json() for entry in read_manifest().cases if any(op in operations for op in entry.operations)
    ]
    files = json.loads(VECTORS.read_text())["files"] if VECTORS.is_file() else {}
    lines += [f"{name} {digest}" for name, digest in files.items() if Path(name).parts[1] in operations]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def property_entries(results: Iterable[Result]) -> Iterator[Entry]:
    """Yield the line of each property, from what it asked."""
    for result in results:
        if result.kind == "property":
            yield Entry(
                id=result.id,
                kind="property",
                level=result.level,
                operations=tuple(op for op in Op if op in result.operations),
                numerics=tuple(each for each in Numerics if each in {pair.numerics for pair in result.asked}),
                requirements=result.requirements,
                since=result.since,
            )


def vector_entries() -> Iterator[Entry]:
    """Yield the line of each stored vector; one that asks derivatives is asked where they are, whatever it computes."""
    for case in load_cases():
        yield Entry(
            id=case.id,
            kind="vector",
            level=max(case.level, GRADIENT_LEVEL) if case.cotangents else case.level,
            operations=(case.op,),
            numerics=tuple(numerics for numerics in Numerics if numerics in case.numerics),
            requirements=case.requirements,
            since=case.since,
        )


def write_manifest(properties: Iterable[Entry]) -> Manifest:
    """Write and return the manifest of these properties and of all stored vectors, one case a line."""
    cases = tuple(sorted([*properties, *vector_entries()], key=lambda entry: entry.id))
    manifest = Manifest(spec_version=SPEC_VERSION, vectors_sha256=sha256(VECTORS), cases=cases)
    fields = manifest.model_dump(mode="json", exclude={"cases"})
    head = "".join(f" {json.dumps(name)}: {json.dumps(value)},\n" for name, value in fields.items())
    lines = ",\n".join(f"  {entry.model_dump_json(exclude_defaults=True)}" for entry in manifest.cases)
    MANIFEST.write_text(f'{{\n{head} "cases": [\n{lines}\n ]\n}}\n')
    return manifest


def vector_problems(manifest: Manifest) -> tuple[str, ...]:
    """Return what is wrong with the stored vectors: another list than the manifest counts, or changed files."""
    if sha256(VECTORS) != manifest.vectors_sha256:
        return ("vectors/data/MANIFEST.json is not the one that the manifest of the suite was written with",)
    if VECTORS.is_file():
        try:
            verify(VECTORS.parent)
        except UserError as error:
            return (str(error),)
    return ()
