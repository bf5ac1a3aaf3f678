"""Stored cases: inputs, expected values and budgets of one call of one operation, with a permanent id.

A case is a directory `data/L<level>/<op>/<id>/` with `case.json` and `data.safetensors.gz`; `MANIFEST.json` holds the
sha256 of every file. Expected values are float64. Activations are bfloat16 numbers and every other input a float32
number, so that every precision profile is asked the same question.
"""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load

from atlas_ref.errors import UserError
from spec_tests.contract.absence import absence
from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.version import FIRST
from spec_tests.port import Array, Declaration, Numerics, Op, Scalar
from spec_tests.vectors.compare import TRACED, TRACES
from spec_tests.vectors.question import Question

DATA: Final = Path(__file__).parent / "data"
MANIFEST: Final = "MANIFEST.json"
TENSORS: Final = "data.safetensors.gz"
"""Compressed, for a fifth of the bytes is names, and lower halves of bfloat16 numbers that are all zero."""
SUITE_VERSION: Final = "0.1"
INPUT, COTANGENT, EXPECTED = "input.", "cotangent.", "expected."
"""Prefixes of the tensors in `data.safetensors`."""

Budgets = Mapping[Numerics, Mapping[str, Array]]


class Record(BaseModel):
    """What `case.json` holds; `budgets`: by precision and tensor, one number a step (one alone without steps)."""

    model_config = ConfigDict(extra="forbid", strict=False, frozen=True)

    id: str
    revision: int
    op: Op
    level: int
    requirements: tuple[str, ...]
    why: str
    config: dict[str, bool | int | float | str]
    budgets: dict[Numerics, dict[str, list[float]]]
    kills: tuple[str, ...]
    provenance: dict[str, str]
    since: str = FIRST


class Manifest(BaseModel):
    """What `MANIFEST.json` holds: a hash for every file, and what the files were made with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    suite_version: str
    spec_version: str
    spec_sha256: str
    torch: str
    numpy: str
    cases: dict[str, int]
    files: dict[str, str]


@dataclass(frozen=True)
class Case:
    """One question with its answer.

    `expected` holds outputs, taps and `grad.X` in float64; for the memory over a sequence also the state after every
    token, under the names of the taps, for forms that have no taps too, unless the call is too long for that.
    `budgets[numerics][name]` is the largest error allowed at each step, in the measure of `spec_tests.vectors.compare`.
    `kills` names the seeded faults that exceed the budget threefold. `since` is the first version of the specification
    that has the case.
    """

    id: str
    revision: int
    op: Op
    level: int
    requirements: tuple[str, ...]
    why: str
    config: Mapping[str, Scalar]
    inputs: Mapping[str, Array]
    cotangents: Mapping[str, Array]
    expected: Mapping[str, Array]
    budgets: Budgets
    kills: tuple[str, ...]
    provenance: Mapping[str, str]
    since: str = FIRST

    @property
    def question(self) -> Question:
        """What is asked, the state after every token where the case holds it."""
        traced = self.op not in TRACED or TRACES.keys() <= self.expected.keys()
        return Question(self.op, self.config, self.inputs, self.cotangents, traced)

    @property
    def numerics(self) -> tuple[Numerics, ...]:
        """The precision profiles in which the case is asked."""
        return tuple(self.budgets)


def directory(level: int, op: Op, name: str) -> Path:
    """Return where a case lies, relative to the data."""
    return Path(f"L{level}") / op / name


def load_cases(level: int | None = None, op: Op | None = None, data: Path = DATA) -> tuple[Case, ...]:
    """Return the stored cases, all or those of a level or operation, ordered by level and id.

    Raises UserError where a file is missing or is not the one that the manifest names.
    """
    return tuple(case for case in stored_cases(data) if level in (None, case.level) and op in (None, case.op))


def first_case(op: Op, data: Path = DATA) -> Case | None:
    """Return the first stored case of an operation, None where there is none; no other file is read or verified."""
    path = min(data.glob(f"L*/{op}/*/case.json"), default=None)
    return load_case(path.parent) if path else None


@cache
def stored_cases(data: Path) -> tuple[Case, ...]:
    """Read every stored case, once a process; whoever writes cases clears the cache."""
    verify(data)
    cases = [load_case(path.parent) for path in data.glob("L*/*/*/case.json")]
    return tuple(sorted(cases, key=lambda case: (case.level, case.id)))


def load_manifest(data: Path = DATA) -> Manifest:
    """Return the manifest; raise UserError where it is missing or unreadable."""
    path = data / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise UserError(f"{path}: the stored cases have no manifest; `atlas vectors fill` writes one.") from error
    except ValidationError as error:
        raise UserError(f"{path}: not a manifest of stored cases ({error.errors()[0]['msg']}).") from error


def verify(data: Path = DATA) -> None:
    """Raise UserError where the stored files are not exactly those of the manifest."""
    named = load_manifest(data).files
    found = dict(_hashes(data))
    for path, wanted in named.items():
        if path not in found:
            raise UserError(f"{data / path}: missing, although {MANIFEST} names it; reinstall the suite.")
        if found[path] != wanted:
            raise UserError(f"{data / path}: changed since {MANIFEST} was written; reinstall the suite.")
    for path in found.keys() - named.keys():
        raise UserError(f"{data / path}: not in {MANIFEST}; `atlas vectors fill` writes cases and manifest together.")


def _hashes(data: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(data.glob("L*/*/*/*")):
        yield path.relative_to(data).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()


def hashes(data: Path) -> dict[str, str]:
    """Return the sha256 of every file of every case, by its path."""
    return dict(_hashes(data))


def load_case(path: Path) -> Case:
    """Read the case in a directory; raise UserError where it is not one."""
    try:
        record = Record.model_validate_json((path / "case.json").read_bytes())
        arrays = load(gzip.decompress((path / TENSORS).read_bytes()))
    except (ValidationError, SafetensorError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path}: not a stored case ({str(error).splitlines()[0]}).") from error
    budgets = {
        numerics: {name: np.array(values) for name, values in tensors.items()}
        for numerics, tensors in record.budgets.items()
    }
    parts = {"inputs": INPUT, "cotangents": COTANGENT, "expected": EXPECTED}
    tensors = {part: _under(prefix, arrays) for part, prefix in parts.items()}
    config = OPERATIONS[record.op].configured(record.config)
    return Case(**{**dict(record), **tensors, "budgets": budgets, "config": config})


def _under(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def absent(declaration: Declaration, case: Case, numerics: Numerics) -> str | None:
    """Return why a port that declares this is not asked the case, None where it is."""
    return absence(declaration, case.op, case.config, case.inputs, numerics, gradients=bool(case.cotangents))


def to_text(value: Any, indent: str = "") -> str:
    """Return JSON with every entry of an object on a line and every list on one."""
    if not isinstance(value, dict) or not value:
        return json.dumps(value)
    inner = indent + " "
    entries = (f"{inner}{json.dumps(key)}: {to_text(entry, inner)}" for key, entry in value.items())
    return "{\n" + ",\n".join(entries) + f"\n{indent}}}"
