"""`atlas doctor`: whether everything that training needs is here, and what else there is."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from atlas_ref.wording import visible
from cli.console import bare_table, say

if TYPE_CHECKING:
    from cli.diagnosis import Finding

BROKEN_EXIT_CODE = 2


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Tell whether everything that training needs is here.

    Looks at versions, devices, places to write and optional packages; exit code 2 when something needed is broken.
    """
    from cli.diagnosis import diagnose

    findings = diagnose()
    broken = [finding for finding in findings if finding.status == "broken"]
    if as_json:
        typer.echo(json.dumps({"ok": not broken, "findings": [finding._asdict() for finding in findings]}))
    else:
        show(findings)
        say(f"broken: {', '.join(finding.name for finding in broken)}" if broken else "nothing needed is broken")
    if broken:
        raise typer.Exit(BROKEN_EXIT_CODE)


def show(findings: Sequence["Finding"]) -> None:
    """Print findings as a table; what is long is folded and never cut."""
    from rich.console import Console
    from rich.text import Text

    table = bare_table(header=False)
    for _ in range(4):
        table.add_column(overflow="fold")
    for finding in findings:
        table.add_row(*(Text(visible(part)) for part in finding))
    Console(highlight=False).print(table)
