"""`atlas data`: which of the public data sets lie in a folder, and what a training would read of them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.console import bare_table, print_table, prose_width, say

if TYPE_CHECKING:
    from atlas_ref.data.adapters.census import Census, Counted
    from atlas_ref.data.facts import Fact

BROKEN_EXIT_CODE = 2

app = typer.Typer(help="Look at data sets before they are trained on.", no_args_is_help=True, rich_markup_mode=None)


@app.command("check")
def check(
    path: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of data sets, or a file of one.")],
    length: Annotated[
        int, typer.Option(min=8, max=2**26, help="Bytes in a row: those of a prompt, its answer and its end.")
    ] = 1024,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Count the examples of the public data sets in a folder.

    What is there by set and split, how many rows are no examples and why, what is not read, and which of the fourteen
    sets are absent; exit code 2 when a row cannot be read. Every row is looked at, and none is kept.
    """
    from atlas_ref.data.adapters.census import take_census

    census = take_census(path, length)
    if as_json:
        typer.echo(json.dumps(as_object(census, length)))
    else:
        show(census, length)
    for fault in () if as_json else census.faults:
        say(f"Error: {fault}", err=True)
    if census.faults:
        raise typer.Exit(BROKEN_EXIT_CODE)


def as_object(census: "Census", length: int) -> dict[str, Any]:
    """Return everything that was counted, for `--json`."""
    return {
        "ok": not census.faults,
        "length": length,
        "parts": [part_object(each) for each in census.counted],
        "absent": [each.name for each in census.absent],
        "not_read": [entry._asdict() for entry in census.left_out],
    }


def part_object(counted: "Counted") -> dict[str, Any]:
    """Return one split of a set."""
    part = counted.part
    return {
        "set": part.data_set.name,
        "domain": part.data_set.domain,
        "split": part.split,
        "files": [str(file) for file in part.files],
        "rows": counted.rows,
        "examples": counted.examples,
        "cut": counted.cut,
        "skipped": counted.skipped,
        "fault": counted.fault,
    }


def show(census: "Census", length: int) -> None:
    """Print the table, and below it what its numbers leave unsaid, as wide as the terminal is."""
    from rich.text import Text

    from cli.facts import lines

    table = bare_table()
    for heading in ("set", "domain", "split"):
        table.add_column(heading, no_wrap=True)
    for heading in ("files", "rows", "examples", "skipped", "cut"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in census.counted:
        words = each.part.data_set.name, each.part.data_set.domain, each.part.split
        numbers = len(each.part.files), each.rows, each.examples, sum(each.skipped.values()), each.cut
        table.add_row(*map(Text, words), *(f"{number:,}" for number in numbers))
    print_table(table)
    said = facts(census, length)
    if said:
        typer.echo()
    for line in lines(said, prose_width()):
        say(line)


def facts(census: "Census", length: int) -> "list[Fact]":
    """Return what there is to say below the table."""
    from atlas_ref.data.facts import Fact, what_is_left_out
    from atlas_ref.wording import counted

    found = [
        Fact("skipped", f"{each.part.data_set.name} {each.part.split}: {counted(number, 'row')}, {reason}")
        for each in census.counted
        for reason, number in each.skipped.items()
    ]
    if any(each.cut for each in census.counted):
        found.append(Fact("cut", f"prompts at the beginning, so that the answer fits in a row of {length:,} bytes"))
    whole = [each.part.data_set.name for each in census.counted if each.part.split == "whole"]
    if whole:
        found.append(Fact("whole", f"{', '.join(whole)}: without splits; a training divides them by their prompts"))
    if census.counted and not any(each.part.split in ("train", "whole") for each in census.counted):
        found.append(Fact("note", "there is nothing to train on: test and validation splits are only judged by"))
    found += [Fact("not read", text) for text in what_is_left_out(census.left_out)]
    if census.absent:
        found.append(Fact("absent", ", ".join(f"{each.name} ({each.hub})" for each in census.absent)))
    return found
