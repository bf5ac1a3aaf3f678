"""All rows together: `docs/matrix.json`, written row by row, so that a run that is stopped keeps what it has.

python -m spec_tests.matrix.gather docs      draws the page of the numbers that are there once more
"""

import json
import platform
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

import atlas_ref
from atlas_ref.errors import UserError
from spec_tests.discovery import words
from spec_tests.matrix.asking import demand_machine, row_of, torch_version
from spec_tests.matrix.catalogue import Implementation, read_catalogue
from spec_tests.matrix.environments import NotInstalledError
from spec_tests.matrix.model import TIMES, Matrix, Row, Speed
from spec_tests.matrix.page import render_page
from spec_tests.matrix.speed import speeds
from spec_tests.port import SPEC_VERSION
from spec_tests.report.manifest import MANIFEST, sha256

JSON: Final = "matrix.json"
PAGE: Final = "matrix.html"


def gather(
    implementations: Iterable[Implementation], folder: Path, told: Callable[[Row], None], *, fresh: bool
) -> Matrix:
    """Ask these, write both files after each, and return all rows; those of others are kept unless `fresh`.

    A row that another machine or another Python is needed for stays as it was asked there; it says where and what.
    """
    path = folder / JSON
    before = read_matrix(path) if path.exists() else matrix_of({})
    listed = {each.name for each in read_catalogue()}
    earlier = {row.name: row for row in before.rows if row.name in listed}
    kept = {} if fresh else dict(earlier)
    matrix = matrix_of(kept, before.speeds)
    for implementation in implementations:
        row = row_of(implementation)
        if row.absent and _is_of_elsewhere(implementation):
            row = earlier.get(row.name, row)
        kept[row.name] = row
        matrix = matrix_of(kept, before.speeds)
        write(matrix, folder)
        told(row)
    return matrix


def _is_of_elsewhere(implementation: Implementation) -> bool:
    try:
        demand_machine(implementation)
    except NotInstalledError:
        return True
    return False


def time_layers(implementations: tuple[Implementation, ...], folder: Path) -> tuple[Speed, ...]:
    """Time the layers of these beside that of this repository, write both files, and return what was measured."""
    path = folder / JSON
    matrix = read_matrix(path) if path.exists() else matrix_of({})
    measured = tuple(speeds(implementations))
    found = {(each.name, each.device): each for each in (*matrix.speeds, *measured)}
    write(matrix.model_copy(update={"speeds": tuple(sorted(found.values(), key=lambda each: each.device))}), folder)
    return measured


def write(matrix: Matrix, folder: Path) -> None:
    """Write the numbers and the page."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JSON).write_text(matrix.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (folder / PAGE).write_text(render_page(matrix), encoding="utf-8")


def matrix_of(rows: dict[str, Row], speeds: tuple[Speed, ...] = ()) -> Matrix:
    """Return the matrix of these rows in the order of the catalogue."""
    order = [each.name for each in read_catalogue()]
    return Matrix(
        suite_version=atlas_ref.__version__,
        spec_version=SPEC_VERSION,
        manifest_sha256=sha256(MANIFEST),
        platform=f"{platform.system()} {platform.machine()}",
        torch=torch_version(),
        chapters=tuple(words()),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        speeds=speeds,
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


if __name__ == "__main__":
    write(read_matrix(Path(sys.argv[1]) / JSON), Path(sys.argv[1]))
