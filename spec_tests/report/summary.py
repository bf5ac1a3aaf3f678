"""The short form of a report, for a terminal."""

from collections.abc import Iterator
from itertools import islice
from typing import Final

import pytest
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from atlas_ref.wording import counted, visible
from spec_tests.report.model import LEVELS, Report, Result, Verdict

MOST: Final = 10
"""Failures and complaints that are printed; the report has all of them."""

COLOURS: Final = {Verdict.CONFORMANT: "bold green", Verdict.INCOMPLETE: "bold yellow"}


def print_summary(report: Report, terminal: pytest.TerminalReporter) -> None:
    """Print counts by level, the first failures with the command that reruns each, and the verdict."""
    terminal.ensure_newline()
    terminal.write(written(report, max(100, terminal._tw.fullwidth), coloured=terminal.hasmarkup))


def written(report: Report, width: int, *, coloured: bool) -> str:
    """Return the short form as it is printed."""
    console = Console(force_terminal=coloured, width=width, highlight=False, emoji=False)
    with console.capture() as capture:
        console.print(counts(report))
        for line in (*complaints(report), *failures(report)):
            console.print(line, soft_wrap=True)
        console.print(f"[{COLOURS.get(report.verdict, 'bold red')}]{shown(sentence(report))}[/]", soft_wrap=True)
    return capture.get()


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
        yield f"not asked: {counted(report.not_asked, 'case')} of other levels or precisions"


def failures(report: Report) -> Iterator[str]:
    """Yield the first failures that no list expects, in markup: a vector once for all its precisions."""
    together: dict[str, list[Result]] = {}
    for result in report.results:
        if result.failed and result.known is None:
            together.setdefault(result.place[1], []).append(result)
    yield from _some([_failure(found) for found in together.values()])


def _failure(found: list[Result]) -> str:
    first = found[0]
    why = f"blocked by {first.blocked_by}" if first.blocked_by else first.outcome
    name = first.place[1]
    if first.kind == "vector":
        name += f" in {', '.join(result.id.rpartition('/')[2] for result in found)}"
    return f"[red]{shown(why)}[/] {shown(name)}: {shown(_what(first))}\n  rerun: {shown(first.rerun)}"


def _what(result: Result) -> str:
    """Return the first divergence where there is one, else the first line of the reason."""
    found = result.divergence
    if found is None:
        return result.reason.strip().partition("\n")[0]
    at = "" if found.step is None else f" at step {found.step}"
    hint = f", like the seeded fault {found.hint}" if found.hint else ""
    return f"{found.tensor}{at} is off by {found.error:.3g}, budget {found.budget:.3g}{hint}"


def _some(lines: list[str]) -> Iterator[str]:
    yield from islice(lines, MOST)
    if len(lines) > MOST:
        yield f"  and {len(lines) - MOST} more"


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
