"""The short form of a report, for a terminal."""

from collections.abc import Iterator
from itertools import islice
from textwrap import TextWrapper
from typing import Final

import pytest
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from atlas_ref.wording import counted, visible
from spec_tests.contract.outcome import Outcome
from spec_tests.report.causes import place
from spec_tests.report.model import LEVELS, Cause, Report, Result, Verdict
from spec_tests.report.telling import cases, headline, likeness

MOST: Final = 10
"""Causes and complaints that are printed; the report has all of them."""
INDENT: Final = "  "
RERUN: Final = "  rerun: "

NARROWEST: Final = 60
COLOURS: Final = {Verdict.CONFORMANT: "bold green", Verdict.INCOMPLETE: "bold yellow"}


def print_summary(report: Report, terminal: pytest.TerminalReporter) -> None:
    """Print counts by level, the first failures with the command that reruns each, and the verdict."""
    terminal.ensure_newline()
    terminal.write(written(report, max(NARROWEST, terminal._tw.fullwidth), coloured=terminal.hasmarkup))


def written(report: Report, width: int, *, coloured: bool) -> str:
    """Return the short form as it is printed."""
    console = Console(force_terminal=coloured, width=width, highlight=False, emoji=False)
    with console.capture() as capture:
        console.print(counts(report))
        verdict = f"[{COLOURS.get(report.verdict, 'bold red')}]{shown(sentence(report))}[/]"
        for text in (*complaints(report), *failures(report), verdict):
            for line in text.split("\n"):
                # A command is copied as it stands.
                console.print(line if line.startswith(RERUN) else _folded(line, width), soft_wrap=True)
    return capture.get()


def _folded(line: str, width: int) -> Text:
    """Return a line of markup broken between words, what follows indented."""
    text = Text.from_markup(line, emoji=False)
    if len(text.plain) <= width:
        return text
    indent = " " * (len(line) - len(line.lstrip()))
    whole = TextWrapper(
        width, initial_indent=indent, subsequent_indent=indent + INDENT, break_long_words=False, break_on_hyphens=False
    )
    folded = whole.fill(text.plain.lstrip())
    places = [span for span in text.spans if span.end <= len(folded.partition("\n")[0])]
    return Text(folded, spans=places or text.spans)


def counts(report: Report) -> Table:
    """Return the table of counts, one level a row."""
    table = Table("level", box=None, pad_edge=False, header_style="bold")
    names = ("passed", "failed", "error", "unsupported", "blocked", "not run", "of N")
    for name in names:
        table.add_column(name, justify="right")
    for count in report.levels:
        numbers = (count.passed, count.failed, count.errors, count.unsupported, count.blocked, count.not_run)
        cells = [str(number) if number else "-" for number in numbers]
        table.add_row(f"L{count.level} {LEVELS[count.level]}", *cells, str(count.defined))
    return table


def complaints(report: Report) -> Iterator[str]:
    """Yield what is wrong beside the cases themselves, in markup."""
    yield from _some([f"[red]suite:[/] {shown(line)}" for line in report.problems])
    yield from _some([f"[red]xfail:[/] {shown(line)}" for line in report.stale])
    if report.given_up:
        yield f"[red]given up:[/] {shown(report.given_up)}"
    for name in report.understated:
        yield f"[yellow]understated:[/] the port answers {shown(name)}, which it declares absent"
    untapped = sum(bool(result.untapped) for result in report.results)
    if untapped:
        yield f"untapped: {counted(untapped, 'case')} in which the port does not show every intermediate value"
    if left_out := sum(result.left_out for result in report.results):
        yield f"left out: {counted(left_out, 'question')} of properties, which the declaration excludes"
    if report.not_asked:
        yield f"not asked: {counted(report.not_asked, 'case')} of other levels, precisions or versions"
    if report.seed is not None:
        yield f"explored: the same examples are drawn again with --explore --seed {report.seed}"


def failures(report: Report) -> Iterator[str]:
    """Yield the causes of failures that no list expects, in markup, each with its cases and the command for one."""
    by_name = {visible(result.id): result for result in report.results}
    yield from _some([_cause(cause, by_name[cause.cases[0]]) for cause in report.causes])


def _cause(cause: Cause, first: Result) -> str:
    lines = [f"  {cases(cause)}", *(f"  {line}" for line in _crash(first) if cause.outcome is Outcome.ERROR)]
    lines += [f"  {words}" for words in [likeness(cause)] if words]
    lines.append(f"  rerun: {first.rerun}")
    return "\n".join([f"[red]{shown(cause.outcome)}[/] {shown(headline(cause, first))}", *map(shown, lines)])


def _crash(result: Result) -> Iterator[str]:
    if place(result):
        yield f"at {place(result)}"
    if result.last and result.last.shapes:
        yield f"with {', '.join(f'{name} {list(shape)}' for name, shape in result.last.shapes.items())}"


def _some(lines: list[str]) -> Iterator[str]:
    yield from islice(lines, MOST)
    if len(lines) > MOST:
        yield f"and {len(lines) - MOST} more in the report"


def sentence(report: Report) -> str:
    """Return the verdict as one sentence."""
    asked = f"L{report.level} in {', '.join(report.numerics)}"
    reached = "no level" if report.reached is None else f"L{report.reached}"
    passed = sum(count.passed for count in report.levels)
    defined = sum(count.defined for count in report.levels)
    return (
        f"{report.declaration.name} {report.declaration.version}: {report.verdict} with ATLAS spec "
        f"{report.spec_version} at {asked}; passed {passed} of {defined} in the manifest, whole up to {reached}"
    )


def shown(text: str) -> str:
    """Return what a port or a list says, for markup: shown as it is and obeyed by nothing."""
    return escape(visible(text))
