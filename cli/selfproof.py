"""`atlas selfproof`: the suite put to the test, with faults, saboteurs, mutants and legitimate variants."""

import json
import os
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from atlas_ref.errors import UserError
from cli.console import say


class PartName(StrEnum):
    """The parts of the proof."""

    FAULTS = "faults"
    GENERATED = "generated"
    VACUITY = "vacuity"
    MUTANTS = "mutants"
    VARIANTS = "variants"


def is_report(path: Path) -> bool:
    """Return whether a file is what `--json` writes: an object with a result for each part."""
    from atlas_ref.reading import read_json

    try:
        found = read_json(path)
    except UserError:
        return False
    parts = set(PartName)
    return isinstance(found, dict) and all(name in parts and "tried" in part for name, part in found.items())


def selfproof(
    part: Annotated[
        list[PartName] | None, typer.Option(help="A part to run; may be repeated.", show_default="all five")
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(metavar="PREFIX", help="Only faults, tests, modules or variants whose name begins so."),
    ] = None,
    jobs: Annotated[str, typer.Option(metavar="N", help="Processes that share the work, or auto: one a core.")] = "1",
    report: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write everything found there.")] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Note each result there as it comes; what stands there and is not wrong is not tried again.",
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only the result of each part.")] = False,
) -> None:
    """Show that the suite catches every fault, and only faults.

    It must notice every seeded fault, fail every saboteur and pass every correct port.

    A run of hours may be stopped and gone on with: name a file with --keep, the same in each run; one that is
    started anew after the suite was mended tries what was wrong, and what came in since.

    Exit code 1 when something that is wrong passes, something right fails, or nothing was tried.
    """
    import torch

    from atlas_ref.places import check_file
    from spec_tests.report.launch import check_jobs
    from spec_tests.report.places import check_file as check_place
    from spec_tests.selfproof.kept import Kept
    from spec_tests.selfproof.report import PARTS, prove
    from spec_tests.selfproof.subjects import matching

    torch.set_num_threads(1)
    if report is not None:
        check_place("--json", report)
        check_file(report, "--json", is_report)
    if keep is not None:
        check_place("--keep", keep)
    parts = tuple(part or PARTS)
    if only is not None:
        parts = matching(parts, only, all_of_them=bool(part))
    processes = os.cpu_count() if check_jobs(jobs) == "auto" else int(jobs)
    found = prove(parts, only, say if not quiet else lambda _: None, processes or 1, Kept(keep))
    if report is not None:
        report.write_text(json.dumps({name: asdict(result) for name, result in found.items()}, indent=1))
    for name, result in found.items():
        say(f"{name}: {result.tried} tried, {len(result.wrong)} wrong")
        for line in (*result.notes, *result.wrong):
            say(f"  {line}")
    raise typer.Exit(1 if any(result.wrong for result in found.values()) else 0)
