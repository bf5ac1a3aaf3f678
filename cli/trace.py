"""`atlas trace`: sentences, tests, vectors and faults, each tied to the others."""

from typing import Annotated

import typer

from atlas_ref.wording import counted
from cli.console import say


def trace(
    write: Annotated[
        bool, typer.Option("--write", help="First write the manifest of cases anew, from runs of the reference.")
    ] = False,
    vectors: Annotated[
        bool,
        typer.Option("--write-vectors", help="First write the lines of the stored vectors anew."),
    ] = False,
    asked: Annotated[
        bool, typer.Option("--write-asked", help="First note anew what tests ask for, from a run of the reference.")
    ] = False,
    jobs: Annotated[str, typer.Option(metavar="N", help="Processes that ask at once, or auto.")] = "auto",
) -> None:
    """Print the tests, vectors and faults behind each sentence.

    A terminal gets a table, a pipe one line for each of them. Exit with 1
    where a sentence, a test or a fault stands alone, or where no case and no
    test asks for something that the table of operations demands.
    """
    from rich.console import Console

    from spec_tests.report.launch import check_jobs
    from spec_tests.report.listener import rewrite_asked
    from spec_tests.report.rewrite import rewrite_manifest, rewrite_vectors
    from spec_tests.report.trace import lines, problems, read_trace, table

    if write:
        typer.echo("asking the reference every case; this takes some minutes")
        manifest = rewrite_manifest(check_jobs(jobs))
        typer.echo(f"manifest: {len(manifest.cases)} cases")
    elif vectors:
        typer.echo(f"manifest: {len(rewrite_vectors().cases)} cases")
    if asked:
        typer.echo("hearing what every test asks the reference; this takes some minutes")
        say(f"{counted(rewrite_asked(check_jobs(jobs)), 'test')} named for what no stored case asks")
    found = read_trace()
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(table(found))
    else:
        for line in lines(found):
            say(line)
    gaps = tuple(problems(found))
    for gap in gaps:
        say(gap)
    if gaps:
        raise typer.Exit(1)
    clauses = sum(len(sentence.clauses) for sentence in found.sentences)
    say(f"{len(found.sentences)} sentences, each with a test; {clauses} clauses, each with a fault")
