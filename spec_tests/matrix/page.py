"""The page of the matrix: one file, no outside resource; it is whole without its script, which sorts and filters."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from spec_tests.matrix.model import Cell, Matrix, Row
from spec_tests.matrix.page_speeds import speeds
from spec_tests.port import Numerics
from spec_tests.report.elements import Html, definitions, element, join, text
from spec_tests.report.html import CSS
from spec_tests.report.manifest import digest_of_cases

STYLE: Final = Path(__file__).with_name("page.css")
SCRIPT: Final = Path(__file__).with_name("page.js")
WORDS: Final = {"pass": "passes", "convention": "other convention", "fail": "fails", "absent": "absent"}
"""What a cell can say; `absent` is a chapter that the implementation does not have."""
TONES: Final = {"pass": "good", "convention": "part", "fail": "bad", "absent": "none"}


def render_page(matrix: Matrix) -> str:
    """Return the page."""
    head = Html(
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        '<title>Public implementations under the ATLAS specification</title><link rel="icon" href="data:,">'
        f"<style>\n{CSS.read_text()}{STYLE.read_text()}</style>"
    )
    body = join(
        (_header(matrix), _controls(matrix), _table(matrix), speeds(matrix), _details(matrix), _footer(matrix)), "\n"
    )
    script = f"<script>\n{SCRIPT.read_text()}</script>"
    return f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>\n{body}\n{script}\n</body>\n</html>\n'


def verdict(row: Row, chapter: str) -> str:
    """Return what a row says of a chapter: whether it fails, passes by a named alternative, passes, or is absent."""
    cells = row.chapters.get(chapter, {}).values()
    if any(cell.failed for cell in cells):
        return "fail"
    if not any(cell.passed for cell in cells):
        return "absent"
    return "convention" if chapter in row.convention else "pass"


def _header(matrix: Matrix) -> Html:
    asked = [row for row in matrix.rows if not row.absent]
    said = f"{len(asked)} of {len(matrix.rows)} implementations were asked with version {matrix.spec_version}"
    legend = (
        element("span", text(WORDS[kind]), class_=f"tag {TONES[kind]}") for kind in ("pass", "convention", "fail")
    )
    return Html(
        element("h1", text("Public implementations under the ATLAS specification"))
        + element("p", text(f"{said}. A cell has the cases passed, and those failed after a stroke. {MEANING}"))
        + element("p", join(legend, " "), class_="legend")
    )


MEANING: Final = (
    "A pass under another convention is one under a named alternative of the specification, or with a line of algebra "
    "in the adapter; the details say which."
)


def _controls(matrix: Matrix) -> Html:
    profiles = [
        each for each in Numerics if any(each in cells for row in matrix.rows for cells in row.chapters.values())
    ]
    orders = {"": "as listed", "0": "by name", "1": "most passed", "2": "most failed"}
    inputs = (
        _labelled("Name", Html('<input id="name" type="search" autocomplete="off">')),
        _labelled("Precision", _select("numerics", {"": "all", **{each: each for each in profiles}})),
        _labelled(
            "With a cell that", _select("verdict", {"": "says anything", **{k: WORDS[k] for k in list(WORDS)[:3]}})
        ),
        _labelled("Order", _select("order", orders)),
    )
    return Html(
        element("form", join(inputs), id="filters", **{"aria-label": "Filters", "hidden": "hidden"})
        + element("p", Html(""), id="found", class_="quiet", **{"aria-live": "polite"})
    )


def _labelled(name: str, control: Html) -> Html:
    return element("label", Html(element("span", text(name)) + control))


def _select(name: str, values: dict[str, str]) -> Html:
    # An empty value has to be written too.
    options = (Html(f'<option value="{text(value)}">{text(words)}</option>') for value, words in values.items())
    return element("select", join(options), id=name)


def _chapters(matrix: Matrix) -> list[str]:
    return [word for word in matrix.chapters if any(word in row.chapters for row in matrix.rows)]


def _table(matrix: Matrix) -> Html:
    chapters = _chapters(matrix)
    heads = [_head("implementation", "name"), _head("passed", "passed"), _head("failed", "failed")]
    heads += [_head(word.replace("_", " "), f"c{place}") for place, word in enumerate(chapters)]
    rows = join(_row(row, chapters) for row in matrix.rows)
    inner = element("thead", element("tr", join(heads))) + element("tbody", rows)
    return element("div", element("table", Html(inner), id="matrix"), class_="scroll", tabindex="0")


def _head(words: str, key: str) -> Html:
    return Html(f'<th scope="col" data-key="{key}"><button type="button">{text(words)}</button></th>')


def _row(row: Row, chapters: list[str]) -> Html:
    name = element("a", text(row.name), href=f"#{_anchor(row)}")
    if row.absent:
        why = f'<td class="none why" colspan="{len(chapters) + 2}">{text(f"not asked: {row.absent}")}</td>'
        cells = Html(f'<th scope="row">{name}</th>{why}')
        return element("tr", cells, **{"data-name": row.name, "data-absent": "yes"})
    asked = [cell for _, _, cell in _asked(row)]
    sums = {each: sum(getattr(cell, each) for cell in asked) for each in ("passed", "failed")}
    totals = (Html(f'<td class="number" data-total="{each}">{number}</td>') for each, number in sums.items())
    cells = join([Html(f'<th scope="row">{name}</th>'), *totals, *(_cell(row, word) for word in chapters)])
    return element("tr", cells, **{"data-name": row.name})


def _cell(row: Row, chapter: str) -> Html:
    kind = verdict(row, chapter)
    counts = " ".join(
        f"{numerics}:{cell.passed}:{cell.failed}" for numerics, cell in row.chapters.get(chapter, {}).items()
    )
    cells = row.chapters.get(chapter, {}).values()
    passed, failed = sum(cell.passed for cell in cells), sum(cell.failed for cell in cells)
    said = "" if kind == "absent" else f"{passed} / {failed}" if failed else str(passed)
    named = "yes" if chapter in row.convention else ""
    shown = chapter.replace("_", " ")
    attributes = {"data-chapter": shown, "data-kind": kind, "data-named": named, "data-counts": counts}
    return element("td", text(said), class_=f"number {TONES[kind]}", title=WORDS[kind], **attributes)


def _anchor(row: Row) -> str:
    return "at-" + "".join(letter if letter.isalnum() else "-" for letter in row.name.lower())


def _details(matrix: Matrix) -> Html:
    return Html(element("h2", text("Each by itself")) + join(_card(row, matrix) for row in matrix.rows))


def _card(row: Row, matrix: Matrix) -> Html:
    title = element("h3", element("a", text(row.name), href=row.page))
    facts = definitions(dict(_facts(row, matrix)))
    lines = join(_line(row, chapter, numerics, cell) for chapter, numerics, cell in _asked(row))
    heads = ("chapter", "precision", "passed", "failed", "absent", "what it means, or the first divergence")
    head = element("thead", element("tr", join(element("th", text(name), scope="col") for name in heads)))
    body = Html(head + element("tbody", lines))
    table = element("div", element("table", body, class_="cells"), class_="scroll", tabindex="0") if lines else Html("")
    kind = "fails" if any(cell.failed for _, _, cell in _asked(row)) else ""
    return element(
        "section", Html(title + facts + table), class_=f"card {kind}", id=_anchor(row), **{"data-name": row.name}
    )


def _facts(row: Row, matrix: Matrix) -> Iterator[tuple[str, str]]:
    if row.absent:
        yield "Not asked", row.absent
    told = row.declaration
    if told is not None:
        yield "Version", f"{told.version}, {told.language}, Python {row.python}"
        if row.torch not in ("", matrix.torch):
            yield "Beside", f"torch {row.torch}" + f", {row.device}" * bool(row.device)
        if row.cases_sha256 not in ("", digest_of_cases(told.operations)):
            yield "Other cases", f"those of {row.cases_sha256}, which have changed since"
        yield "Has", ", ".join(told.operations)
        limits = [f"{key} {' or '.join(values)}" for key, values in told.only.items()]
        limits += [f"{axis} up to {length}" for axis, length in told.longest.items()]
        limits += [f"without {feature}" for feature in told.without]
        yield "Asked only", "; ".join(limits) or "all of it"
        yield "Multiplies in", told.matmul_precision
    if row.packages:
        yield "Packages", ", ".join(row.packages)
    yield "Again", row.command


def _asked(row: Row) -> Iterator[tuple[str, str, Cell]]:
    for chapter, cells in row.chapters.items():
        for numerics, cell in cells.items():
            if cell.passed or cell.failed:
                yield chapter, numerics, cell


def _line(row: Row, chapter: str, numerics: str, cell: Cell) -> Html:
    means = [row.convention[chapter]] if chapter in row.convention and not cell.failed else []
    means += [row.theirs[chapter]] if chapter in row.theirs and cell.failed else []
    said = text("; ".join(means))
    if cell.first is not None:
        said = Html(said + element("p", text(f"{cell.first.case}: {cell.first.said}")))
        said = Html(said + element("code", text(cell.first.rerun)))
    kind = "bad" if cell.failed else "part" if chapter in row.convention else "good"
    numbers = (element("td", text(each), class_="number") for each in (cell.passed, cell.failed, cell.absent))
    words = (element("td", text(chapter.replace("_", " ")), class_=kind), element("td", text(numerics)))
    return element("tr", join((*words, *numbers, element("td", said, class_="long"))))


def _footer(matrix: Matrix) -> Html:
    facts = {
        "Suite": f"{matrix.suite_version}, manifest sha256 {matrix.manifest_sha256}",
        "Beside": f"torch {matrix.torch}, {matrix.platform}",
        "Made": matrix.made,
        "Again": "atlas matrix",
    }
    return element("footer", definitions(facts))
