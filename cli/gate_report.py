"""What the gates found, for a person: a table on a terminal that is wide enough, lines anywhere else."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from preflight.result import Check, GateResult, Verdict

WIDE = 140
"""Columns that the table needs; in fewer its sentences would be cut off."""
COLOURS = {Verdict.PASS: "green", Verdict.INCONCLUSIVE: "yellow", Verdict.FAIL: "red"}


def print_results(results: Sequence[GateResult], console: Console | None = None) -> None:
    """Print every check of every gate, on standard output unless told otherwise; the console honours NO_COLOR."""
    console = console or Console()
    if console.is_terminal and console.width >= WIDE:
        console.print(table(results))
        return
    for line in lines(results):
        text = Text(line)
        for verdict, colour in COLOURS.items():
            text.highlight_words([verdict], colour)
        # A pipe gets each check on one line, a narrow terminal wraps it between words.
        console.print(text, soft_wrap=not console.is_terminal)


def table(results: Sequence[GateResult]) -> Table:
    """Return a table with a row for each check."""
    drawn = Table(box=None, pad_edge=False)
    drawn.add_column("gate", min_width=16)
    drawn.add_column("verdict", no_wrap=True)
    for name in ("statistic", "threshold", "interval", "seconds"):
        drawn.add_column(name, justify="right", no_wrap=True)
    drawn.add_column("why", min_width=24)
    for result in results:
        drawn.add_row(
            Text(result.gate, "bold"), coloured(result.verdict), "", "", "", f"{result.seconds:.1f}", why(result)
        )
        for check in result.checks:
            numbers = (f"{check.statistic:.4g}", f"{check.threshold:.4g}", interval(check), "")
            drawn.add_row(f"  {check.name}", coloured(check.verdict), *numbers, Text(check.sentence))
    return drawn


def lines(results: Sequence[GateResult]) -> list[str]:
    """Return the same as lines of text."""
    found = []
    for result in results:
        found.append(f"{result.verdict}  {result.gate}  {result.seconds:.1f} s  {why(result)}")
        for check in result.checks:
            range_ = f"  interval {interval(check)}" if check.interval else ""
            numbers = f"statistic {check.statistic:.4g}  threshold {check.threshold:.4g}{range_}"
            found.append(f"    {check.verdict}  {check.name}  {numbers}  {check.sentence}")
    return found


def why(result: GateResult) -> str:
    """Return why a gate has its verdict: the sentence of its first check that has it too."""
    deciding = [check.sentence for check in result.checks if check.verdict is result.verdict]
    if result.verdict is Verdict.PASS:
        return f"all {len(result.checks)} checks hold"
    return deciding[0] if deciding else "nothing was checked"


def coloured(verdict: Verdict) -> Text:
    """Return a verdict in its colour."""
    return Text(verdict, COLOURS[verdict])


def interval(check: Check) -> str:
    """Return the interval of a check, or nothing."""
    return f"[{check.interval.low:.4g}, {check.interval.high:.4g}]" if check.interval else ""
