"""`atlas trace`: sentences, tests, vectors and faults, each tied to the others."""

from typing import Annotated

import typer


def trace(
    write: Annotated[
        bool, typer.Option("--write", help="First write the manifest of cases anew, from runs of the reference.")
    ] = False,
    vectors: Annotated[
        bool,
        typer.Option("--write-vectors", help="First write the lines of the stored vectors anew."),
    ] = False,
    jobs: Annotated[str, typer.Option(metavar="N", help="Processes that ask at once with --write, or auto.")] = "auto",
) -> None:
    """Print the tests, vectors and faults behind each sentence.

    Exit with 1 where a sentence, a test or a fault stands alone.
    """
    from rich.console import Console

    from spec_tests.report.launch import check_jobs
    from spec_tests.report.rewrite import rewrite_manifest, rewrite_vectors
    from spec_tests.report.trace import problems, read_trace, table

    if write:
        typer.echo("asking the reference every case; this takes some minutes")
        manifest = rewrite_manifest(check_jobs(jobs))
        typer.echo(f"manifest: {len(manifest.cases)} cases")
    elif vectors:
        typer.echo(f"manifest: {len(rewrite_vectors().cases)} cases")
    found = read_trace()
    terminal = Console(highlight=False)
    # In a file or a pipe nothing is as narrow as a terminal may be.
    console = terminal if terminal.is_terminal else Console(highlight=False, width=200)
    console.print(table(found))
    gaps = tuple(problems(found))
    for line in gaps:
        console.print(line, soft_wrap=True, markup=False)
    if gaps:
        raise typer.Exit(1)
    console.print(f"{len(found.sentences)} sentences, each with a test and a fault")
