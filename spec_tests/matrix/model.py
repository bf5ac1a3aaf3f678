"""What `docs/matrix.json` holds. Apart from times two runs on one machine write the same."""

from typing import Final, Literal

from pydantic import Field

from spec_tests.report.model import DeclarationRecord, Frozen, Line, Number, Text

TIMES: Final = frozenset({"seconds", "made", "speeds"})
"""The fields that differ from run to run."""


class First(Frozen):
    """The first failure of a cell: the case, and where it first left its budget, or what was raised."""

    case: Line
    said: Text
    rerun: Line


class Cell(Frozen):
    """What became of the cases of one chapter in one precision."""

    passed: int = 0
    failed: int = 0
    absent: int = 0
    first: First | None = None


class Row(Frozen):
    """One implementation: its declaration and cells, or why it is not installed here."""

    name: Line
    page: Line
    port: Line
    packages: tuple[Line, ...]
    python: Line = ""
    torch: Line = Field(default="", description="beside which it was asked")
    device: Line = Field(default="", description="the GPU it was asked on, empty for none")
    cases_sha256: Line = Field(default="", description="of all cases that ask one of its operations")
    declaration: DeclarationRecord | None = None
    absent: Line = Field(default="", description="why it could not be asked; empty where it was")
    chapters: dict[Line, dict[Line, Cell]] = Field(default={}, description="chapter: precision: what became of it")
    convention: dict[Line, Line] = Field(default={}, description="chapter: the key, feature or recipe of its pass")
    theirs: dict[Line, Line] = Field(default={}, description="chapter: what docs/public.md derives of its failures")
    command: Line
    seconds: Number = 0.0


class Speed(Frozen):
    """What a layer costs beside one of this repository: forward and backward, medians.

    Seconds and memory are those of a process of one thread, on a GPU those of the clock and what was allocated there.
    """

    name: Line
    device: Line = "cpu"
    shape: tuple[int, int, int] = Field(description="rows, tokens, width")
    pairs: int
    theirs: Number
    ours: Number
    ratio: Number = Field(description="theirs / ours, the median of the pairs; least and most are those of the pairs")
    least: Number
    most: Number
    mebibytes: Number = Field(description="the largest memory of its process; of the other one below")
    our_mebibytes: Number


class Matrix(Frozen):
    """All of them, and with what they were asked."""

    format: Literal[1] = 1
    suite_version: str
    spec_version: str
    manifest_sha256: str
    platform: str
    torch: str
    chapters: tuple[str, ...]
    made: str
    rows: tuple[Row, ...]
    speeds: tuple[Speed, ...] = ()
