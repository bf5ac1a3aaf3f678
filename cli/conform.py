"""`atlas conform`: the conformance suite on a port, with a report."""

from pathlib import Path
from typing import Annotated

import typer


def conform(
    port: Annotated[
        str | None,
        typer.Option(
            metavar="PORT", help="package.module:Factory or cmd:PROGRAM.  [default: ATLAS_PORT, or the reference]"
        ),
    ] = None,
    level: Annotated[str, typer.Option(metavar="LEVEL", help="The highest level asked, L0 to L6.")] = "L6",
    numerics: Annotated[
        str, typer.Option(metavar="LIST", help="The precisions asked, separated by commas.")
    ] = "f64,f32,bf16_io",
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write report.json, junit.xml, report.html and badge.svg there.")
    ] = None,
    xfail: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML list of expected failures, strict both ways.")
    ] = None,
    update_xfail: Annotated[bool, typer.Option("--update-xfail", help="Rewrite that list from this run.")] = False,
    jobs: Annotated[
        str, typer.Option(metavar="N", help="Processes that ask at once; auto: one below 200 questions.")
    ] = "auto",
    explore: Annotated[bool, typer.Option("--explore", help="Draw fresh examples, and more of them.")] = False,
    seed: Annotated[
        str | None, typer.Option(metavar="N", help="What --explore drew with this seed, once more.")
    ] = None,
) -> None:
    """Run the conformance suite on a port and report.

    Exit codes: 0 conformant at the level asked; 1 failed; 2 wrong usage; 3 nothing failed, but not everything passed;
    4 the suite is not whole; 5 the list of expected failures is out of date.
    """
    from spec_tests.report.launch import Launch, check_jobs
    from spec_tests.report.options import check_places, chosen_port
    from spec_tests.report.scope import parse_level, parse_numerics

    check_places(report, xfail, update_xfail)
    options = [f"--level=L{parse_level(level)}", f"--numerics={','.join(parse_numerics(numerics))}"]
    options += [f"--report={report}"] if report else []
    options += [f"--xfail={xfail}"] if xfail else []
    options += ["--update-xfail"] if update_xfail else []
    options += ["--explore"] if explore else []
    options += [f"--seed={seed}"] if seed is not None else []
    raise typer.Exit(Launch(port or chosen_port(), options, check_jobs(jobs)).run())
