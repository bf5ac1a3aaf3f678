"""All rows together: `docs/matrix.json`, written row by row, so that a run that is stopped keeps what it has."""

import json
import platform
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

import atlas_ref
from atlas_ref.errors import UserError
from spec_tests.discovery import words
from spec_tests.matrix.asking import row_of, torch_version
from spec_tests.matrix.catalogue import Implementation, read_catalogue
from spec_tests.matrix.model import TIMES, Matrix, Row
from spec_tests.matrix.page import render_page
from spec_tests.port import SPEC_VERSION
from spec_tests.report.manifest import MANIFEST, sha256

JSON: Final = "matrix.json"
PAGE: Final = "matrix.html"


def gather(
    implementations: Iterable[Implementation], folder: Path, told: Callable[[Row], None], *, fresh: bool
) -> Matrix:
    """Ask these, write both files after each, and return all rows; those of others are kept unless `fresh`."""
    path = folder / JSON
    kept = {} if fresh or not path.exists() else {row.name: row for row in read_matrix(path).rows}
    folder.mkdir(parents=True, exist_ok=True)
    matrix = matrix_of(kept)
    for implementation in implementations:
        row = row_of(implementation)
        kept[row.name] = row
        matrix = matrix_of(kept)
        path.write_text(matrix.model_dump_json(indent=1) + "\n", encoding="utf-8")
        (folder / PAGE).write_text(render_page(matrix), encoding="utf-8")
        told(row)
    return matrix


def matrix_of(rows: dict[str, Row]) -> Matrix:
    """Return the matrix of these rows in the order of the catalogue."""
    order = [each.name for each in read_catalogue()]
    return Matrix(
        suite_version=atlas_ref.__version__,
        spec_version=SPEC_VERSION,
        manifest_sha256=sha256(MANIFEST),
        platform=platform.platform(),
        torch=torch_version(),
        chapters=tuple(words()),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        rows=tuple(sorted(rows.values(), key=lambda row: order.index(row.name) if row.name in order else len(order))),
    )


def read_matrix(path: Path) -> Matrix:
    """Read a matrix that was written before; UserError where the file is none."""
    try:
        return Matrix.model_validate_json(path.read_bytes(), strict=False)
    except ValidationError as error:
        raise UserError(f"{path}: is no matrix of this version ({error.errors()[0]['msg']}); remove it.") from error


def without_times(matrix: Matrix) -> Any:
    """Return everything that two runs on one machine must agree on."""

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: bare(inner) for name, inner in value.items() if name not in TIMES}
        return [bare(inner) for inner in value] if isinstance(value, list) else value

    return bare(json.loads(matrix.model_dump_json()))
