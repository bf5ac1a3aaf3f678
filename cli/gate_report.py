"""What the gates found, for a person: one line a gate, and every number behind it where it is asked for or failed."""

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from atlas_ref.wording import counted
from cli.console import bare_table, print_table
from preflight.result import Check, GateResult, Verdict

WIDE = 140
"""Columns in which sentences stand beside their numbers; in fewer, such as the 80 of a pipe, they stand below them."""
COLOURS = {Verdict.PASS: "green", Verdict.INCONCLUSIVE: "yellow", Verdict.FAIL: "red"}
HEADLINES = {
    "proof-of-life": (
        "memory outlasts attention",
        "half of what is written lasts {0:,.0f} tokens; {1:,.0f} are needed",
    ),
    "baton-pass": (
        "a boundary costs nothing",
        "a text cut in two costs {0:z.3f} of loss; {1:.3f} is allowed",
    ),
    "seed-competition": (
        "the seed beats noise",
        "what it remembers beats noise by {0:.2f}; {1:.2f} is needed",
    ),
    "memory-ablation": (
        "memory beats its absence",
        "with its memory the loss is {0:.2f} lower; {1:.2f} is needed",
    ),
}
"""For each gate the check that speaks for all when they hold, and what its statistic and threshold mean."""
LEGEND = (
    "interval: where the true value lies, wrong once in a hundred times; nats: losses as natural logarithms; "
    "atlas preflight --json has the evidence"
)
FAULTS = {Verdict.FAIL: "fails", Verdict.INCONCLUSIVE: "undecided"}


def print_results(results: Sequence[GateResult], console: Console | None = None, *, details: bool = False) -> None:
    """Print a line a gate, then every check of those that did not pass, or of all of them with `details`."""
    console = console or Console(highlight=False)
    print_table(summary(results), console=console)
    if shown := [result for result in results if details or result.verdict is not Verdict.PASS]:
        console.print()
        print_details(shown, console)


def summary(results: Sequence[GateResult]) -> Table:
    """Return the table of one line a gate."""
    drawn = bare_table(header=False)
    for _ in ("verdict", "gate"):
        drawn.add_column(no_wrap=True)
    drawn.add_column()
    for result in results:
        drawn.add_row(coloured(result.verdict), result.gate, headline(result))
    return drawn


def headline(result: GateResult) -> str:
    """Return what a gate found in few words: its one number against the threshold, or the first check without PASS."""
    deciding = [check for check in result.checks if check.verdict is result.verdict]
    if not deciding:
        return "nothing was checked"
    if result.verdict is not Verdict.PASS:
        first = deciding[0]
        return f"{FAULTS[result.verdict]}: {first.name} ({first.statistic:.3g} against {first.threshold:.3g})"
    name, words = HEADLINES.get(result.gate, (None, ""))
    for check in deciding:
        if check.name == name:
            return words.format(check.statistic, check.threshold)
    return f"{counted(len(deciding), 'check')} passed"


def print_details(results: Sequence[GateResult], console: Console) -> None:
    """Print every check with its numbers and its sentence, and what the words mean."""
    if console.width < WIDE:
        for result in results:
            console.print(_title(result))
            for check in result.checks:
                console.print(_numbers(check, result))
                console.print(Padding(Text(_explained(check), "dim"), (0, 0, 0, 6)))
    else:
        print_table(table(results), console=console)
    console.print(Text(LEGEND, "dim"))


def table(results: Sequence[GateResult]) -> Table:
    """Return a table with a row for each check."""
    drawn = bare_table()
    for name in ("verdict", "gate and check"):
        drawn.add_column(name, no_wrap=True)
    for name in ("value", "threshold", "interval"):
        drawn.add_column(name, justify="right", no_wrap=True)
    drawn.add_column("what was found")
    for result in results:
        drawn.add_row(coloured(result.verdict), Text(result.gate, "bold"), "", "", "", f"in {result.seconds:.1f} s")
        for check in result.checks:
            numbers = (f"{check.statistic:.4g}", f"{check.threshold:.4g}", interval(check))
            drawn.add_row(coloured(check.verdict), f"  {check.name}", *numbers, check.sentence)
    return drawn


def _title(result: GateResult) -> Text:
    return Text.assemble(coloured(result.verdict), "  ", (result.gate, "bold"), f"  in {result.seconds:.1f} s")


def _numbers(check: Check, result: GateResult) -> Text:
    """Return the line of a check, whose numbers stand below those of the others of its gate."""
    verdicts, names = (
        max(map(len, words)) for words in zip(*((c.verdict, c.name) for c in result.checks), strict=True)
    )
    words = f"{check.name:<{names}}  {check.statistic:>9.4g}  threshold {check.threshold:.4g}"
    return Text.assemble("  ", (f"{check.verdict:<{verdicts}}", COLOURS[check.verdict]), f"  {words}")


def _explained(check: Check) -> str:
    return f"{check.sentence}; interval {interval(check)}" if check.interval else check.sentence


def coloured(verdict: Verdict) -> Text:
    """Return a verdict in its colour."""
    return Text(verdict, COLOURS[verdict])


def interval(check: Check) -> str:
    """Return the interval of a check, or nothing."""
    return f"[{check.interval.low:.4g}, {check.interval.high:.4g}]" if check.interval else ""
