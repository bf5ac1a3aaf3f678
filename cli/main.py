"""The command `atlas`: every module here imports torch inside its command only, so that help is immediate.

Exit codes: 0 done; 1 a defect of this program; 2 wrong usage, config, data or file; 3 no preflight certificate, as a
gate does not pass or the one that is there does not hold; 4 training is not sound: a kill switch stopped it, or it
ended worse than it began; 130 interrupted by Ctrl-C and 143 terminated by SIGTERM, after a checkpoint of the step
reached; 141 nobody reads the output any more.
"""

import sys
from typing import Annotated

import typer

import atlas_ref
from atlas_ref.errors import UserError
from cli import (
    config,
    conform,
    doctor,
    evaluate,
    export,
    generate,
    plot,
    port,
    preflight,
    runs,
    selfproof,
    trace,
    train,
    vectors,
)
from cli.console import escape_what_has_no_letter, say
from cli.processes import end_at_once

BROKEN_PIPE_EXIT_CODE = 141
"""What a shell reports of a program that SIGPIPE ended."""

app = typer.Typer(
    name="atlas",
    help="Train, evaluate and sample a language model with test-time memory.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("preflight")(preflight.preflight)
app.command("train")(train.train)
app.command("eval")(evaluate.evaluate)
app.command("generate")(generate.generate)
app.command("export")(export.export)
app.command("plot")(plot.plot)
app.command("runs")(runs.runs)
app.add_typer(config.app, name="config")
app.command("doctor")(doctor.doctor)
app.command("conform")(conform.conform)
app.add_typer(port.app, name="port")
app.add_typer(vectors.app, name="vectors")
app.command("trace")(trace.trace)
app.command("selfproof")(selfproof.selfproof)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"atlas {atlas_ref.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    del version


def main() -> None:
    """Run the command line; an error that the user can mend is one line on standard error and exit code 2."""
    escape_what_has_no_letter()
    with end_at_once():
        _run()


def _run() -> None:
    try:
        app()
    except SystemExit as end:
        # What typer makes of an output that was closed, `atlas generate | head`, is the code of a defect.
        if isinstance(end.__context__, BrokenPipeError):
            sys.exit(BROKEN_PIPE_EXIT_CODE)
        raise
    except UserError as error:
        _fail(str(error))
    except OSError as error:
        # A file that cannot be read or written is the user's to mend; the operating system's words say why.
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def _fail(message: str) -> None:
    say(f"Error: {message}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
