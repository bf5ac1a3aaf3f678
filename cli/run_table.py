"""The table of `atlas runs`, for any width: what matters least goes first, and long words stand below.

Where nothing limits the width, or all of it fits, a run is one whole line. Elsewhere status and preflight are one word
each, with the rest of what they say below the table; columns are left out against the order of IMPORTANCE; and when
run, status, steps and loss alone are too wide, names lose their middle.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from atlas_ref.wording import visible
from cli.console import GAP, bare_table

Row = Mapping[str, Any]

LEAST_NAME = 8
"""Columns that a name keeps in the narrowest terminal."""
MARK = "..."


class Column(NamedTuple):
    """A column: its heading, what it says of a run, and whether it holds numbers, which stand to the right."""

    heading: str
    cell: Callable[[Row], str]
    number: bool = True


class Layout(NamedTuple):
    """What is printed: cells by column, each note with the runs that it is about, and the headings left out."""

    cells: dict[str, list[str]]
    notes: dict[str, list[str]]
    left_out: list[str]

    @property
    def width(self) -> int:
        """The columns of the terminal that the table takes."""
        return sum(map(_width, self.cells, self.cells.values())) + GAP * (len(self.cells) - 1)


def layout(rows: Sequence[Row], width: int | None, sort: str = "run") -> Layout:
    """Lay rows out within `width`, None for no limit; the column that they are sorted by counts as important."""
    texts = {name: [_text(name, row) for row in rows] for name in COLUMNS}
    whole = Layout(texts, {}, [])
    if width is None or whole.width <= width:
        return whole
    short = texts | {name: [_word(text) for text in texts[name]] for name in WORDY}
    kept = _kept(short, _essential(rows), (sort, *IMPORTANCE), width)
    cells = {name: short[name] for name in COLUMNS if name in kept}
    room = width - Layout(cells, {}, []).width + _width("run", cells["run"])
    notes = _notes(texts, short)
    cells["run"] = [middle_cut(name, max(room, LEAST_NAME)) for name in cells["run"]]
    return Layout(cells, notes, [COLUMNS[name].heading for name in COLUMNS if name not in kept])


def table(found: Layout) -> Table:
    """Return the table of a layout; names and numbers are never wrapped."""
    drawn = bare_table()
    for name in found.cells:
        drawn.add_column(COLUMNS[name].heading, justify="right" if COLUMNS[name].number else "left", no_wrap=True)
    for line in zip(*found.cells.values(), strict=True):
        drawn.add_row(*map(Text, line))
    return drawn


def middle_cut(name: str, width: int) -> str:
    """Return a name in at most `width` columns: its begin and its end tell runs of one study apart."""
    if cell_len(name) <= width:
        return name
    tail = (width - len(MARK)) // 2
    begin, end = width - len(MARK) - tail, len(name) - tail
    while cell_len(name[:begin]) + cell_len(name[end:]) > width - len(MARK):
        begin, end = begin - 1, end + 1
    return name[:begin] + MARK + name[end:]


def _essential(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the columns that are always shown; the loss is that of validation where there was any."""
    validated = any(row.get("val_loss") is not None for row in rows)
    return "run", "status", "steps", "val_loss" if validated else "train_loss"


def _kept(cells: Mapping[str, list[str]], essential: Sequence[str], others: Sequence[str], width: int) -> Sequence[str]:
    """Return the essential columns and, in their order, as many of the others as there is room for."""
    kept = list(essential)
    for name in others:
        if name not in kept and Layout({each: cells[each] for each in (*kept, name)}, {}, []).width <= width:
            kept.append(name)
    return kept


def _notes(texts: Mapping[str, list[str]], short: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Return what the words leave unsaid, each once with the runs that it is true of."""
    notes: dict[str, list[str]] = {}
    for name, heading in WORDY.items():
        for run, text, word in zip(texts["run"], texts[name], short[name], strict=True):
            if text != word:
                notes.setdefault(f"{heading}{text}", []).append(run)
    return notes


def _width(name: str, cells: Sequence[str]) -> int:
    return max(map(cell_len, (COLUMNS[name].heading, *cells)))


def _text(name: str, row: Row) -> str:
    """Return a cell; of a damaged run only name and fault are known."""
    return visible(COLUMNS[name].cell(row)) if "steps" in row or name in ("run", "status") else ""


def _word(text: str) -> str:
    return text.split(" ", 1)[0].rstrip(":")


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _best(row: Row) -> str:
    found = row["best_val_loss"]
    return "-" if found is None else f"{found:.4f} ({row['best_val_step']})"


COLUMNS = {
    "run": Column("run", lambda row: str(row["run"]), number=False),
    "status": Column("status", lambda row: str(row["status"]), number=False),
    "steps": Column("steps", lambda row: f"{row['steps']}/{row['max_steps']}"),
    "parameters": Column("parameters", lambda row: _number(row["parameters"], ",d")),
    "memory": Column("memory", lambda row: str(row["memory"]), number=False),
    "seed": Column("seed", lambda row: str(row["seed"])),
    "train_loss": Column("train loss", lambda row: _number(row["train_loss"], ".4f")),
    "val_loss": Column("val loss", lambda row: _number(row["val_loss"], ".4f")),
    "best_val_loss": Column("best (step)", _best),
    "tokens_per_second": Column("tokens/s", lambda row: _number(row["tokens_per_second"], ",.0f")),
    "preflight": Column("preflight", lambda row: str(row["preflight"]), number=False),
}
"""All columns as they stand from left to right, by the key of the row that they show."""
IMPORTANCE = (
    "train_loss",
    "best_val_loss",
    "val_loss",
    "memory",
    "parameters",
    "tokens_per_second",
    "seed",
    "preflight",
)
"""The columns that need not be there, the first to stay first."""
WORDY = {"status": "", "preflight": "preflight "}
"""Columns whose first word will do in the table, with what stands before the whole of it below."""
