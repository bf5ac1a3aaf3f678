"""Writing cases and their manifest."""

import gzip
from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from shutil import rmtree
from typing import Final

import numpy as np
from safetensors.numpy import save

from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.version import FIRST
from spec_tests.port import SPEC_VERSION, Array
from spec_tests.vectors.case import (
    COTANGENT,
    EXPECTED,
    INPUT,
    MANIFEST,
    SUITE_VERSION,
    TENSORS,
    Case,
    Manifest,
    Record,
    directory,
    hashes,
    stored_cases,
    to_text,
)

CHAPTERS: Final = Path(__file__).parents[2] / "docs" / "spec"


def write_cases(cases: Iterable[Case], data: Path) -> None:
    """Replace the stored cases by these, and write the manifest."""
    for level in data.glob("L*"):
        rmtree(level)
    written = [write_case(case, data) for case in cases]
    levels = Counter(f"L{case.level}" for case in written)
    manifest = Manifest(
        suite_version=SUITE_VERSION,
        spec_version=SPEC_VERSION,
        spec_sha256=spec_sha256(),
        torch=version("torch"),
        numpy=np.__version__,
        cases=dict(sorted(levels.items())),
        files=hashes(data),
    )
    (data / MANIFEST).write_text(to_text(manifest.model_dump()) + "\n")
    stored_cases.cache_clear()


def spec_sha256() -> str:
    """Return a hash of the text of the specification."""
    text = b"".join(chapter.read_bytes() for chapter in sorted(CHAPTERS.glob("*.md")))
    return sha256(text).hexdigest()


def write_case(case: Case, data: Path) -> Case:
    """Write the two files of a case and return it."""
    path = data / directory(case.level, case.op, case.id)
    path.mkdir(parents=True)
    # Without the time of writing, so that the same case is the same file.
    (path / TENSORS).write_bytes(gzip.compress(save(tensors(case)), mtime=0))
    # Cases as old as the specification do not say since when they are asked.
    said = record(case).model_dump(mode="json", exclude={"since"} if case.since == FIRST else set())
    (path / "case.json").write_text(to_text(said) + "\n")
    return case


def tensors(case: Case) -> dict[str, Array]:
    """Return every tensor of a case under its name in the file."""
    parts: tuple[tuple[str, Mapping[str, Array]], ...] = (
        (INPUT, case.inputs),
        (COTANGENT, case.cotangents),
        (EXPECTED, case.expected),
    )
    return {f"{prefix}{name}": np.array(array, order="C") for prefix, part in parts for name, array in part.items()}


def record(case: Case) -> Record:
    """Return what `case.json` holds of a case: of its configuration what is not as usual."""
    usual = OPERATIONS[case.op].usual
    budgets = {
        numerics: {name: values.tolist() for name, values in part.items()} for numerics, part in case.budgets.items()
    }
    config = {key: value for key, value in case.config.items() if key not in usual or usual[key] != value}
    names = ("id", "revision", "op", "level", "requirements", "why", "kills", "provenance", "since")
    return Record.model_validate({name: getattr(case, name) for name in names} | {"budgets": budgets, "config": config})
