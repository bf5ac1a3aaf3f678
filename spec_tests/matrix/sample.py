"""A matrix made by hand, for the tests of this room."""

from typing import Any, Final

from spec_tests.matrix.gather import matrix_of
from spec_tests.matrix.model import Cell, First, Matrix, Row, Speed
from spec_tests.report.model import DeclarationRecord
from spec_tests.report.samples import NOTHING

EVIL: Final = '<img src=x onerror="document.body.dataset.evil=1">'


def row(name: str, **fields: object) -> Row:
    """Return a row with these fields."""
    usual = {
        "page": "https://example.org",
        "port": "a:B",
        "packages": ("a==1",),
        "command": f"atlas matrix --only {name}",
    }
    return Row.model_validate({"name": name, **usual, **fields}, strict=False)


def sample() -> Matrix:
    """Return rows of every kind: all green, by another convention, with a failure in one precision, absent."""
    first = First(case="ATL-NS-001/f32", said=f"orthogonal is off by 1 {EVIL}", rerun="python -m pytest x --port a:B")
    declared = DeclarationRecord.of(NOTHING)
    rows = (
        row("green", declaration=declared, chapters={"newton_schulz": {"f64": Cell(passed=3), "f32": Cell(passed=2)}}),
        row(
            "clamped",
            declaration=declared,
            chapters={"newton_schulz": {"f32": Cell(passed=9, absent=2)}},
            convention={"newton_schulz": "start = clamp"},
        ),
        row(
            "wrong",
            declaration=declared,
            chapters={
                "newton_schulz": {"f64": Cell(passed=4), "f32": Cell(passed=1, failed=5, first=first)},
                "memory_step": {"f64": Cell(passed=7)},
            },
            theirs={"newton_schulz": "it starts elsewhere"},
        ),
        row(EVIL, absent="it needs Python 3.12"),
    )
    timed: dict[str, Any] = {"theirs": 0.5, "ours": 0.25, "ratio": 2.0, "least": 1.5, "most": 3.0, "mebibytes": 300.0}
    speed = Speed(name="clamped", shape=(2, 256, 64), pairs=5, our_mebibytes=200.0, **timed)
    return matrix_of({each.name: each for each in rows}, (speed,))
