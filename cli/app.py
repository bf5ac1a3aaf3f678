"""The commands of `atlas`; every module here imports torch inside its command only, so that help is immediate."""

import sys
from typing import Annotated

import typer

import atlas_ref
from atlas_ref.errors import UserError, without_memory, without_reference
from cli import (
    config,
    conform,
    data,
    doctor,
    evaluate,
    export,
    generate,
    kernels,
    matrix,
    plot,
    port,
    preflight,
    runs,
    selfproof,
    trace,
    train,
    vectors,
    watch,
)
from cli.console import say
from cli.once import Once
from cli.processes import end_at_once

app = typer.Typer(
    name="atlas",
    help="Train, evaluate and sample a language model with test-time memory.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("preflight")(preflight.preflight)
app.command("train")(train.train)
app.command("eval")(evaluate.evaluate)
app.command("generate")(generate.generate)
app.command("export")(export.export)
app.command("plot")(plot.plot)
app.command("watch")(watch.watch)
app.command("runs")(runs.runs)
app.add_typer(config.app, name="config")
app.add_typer(data.app, name="data")
app.add_typer(kernels.app, name="kernels")
app.command("doctor")(doctor.doctor)
app.command("conform")(conform.conform)
app.add_typer(port.app, name="port")
app.add_typer(vectors.app, name="vectors")
app.command("matrix")(matrix.matrix)
app.command("trace")(trace.trace)
app.command("selfproof")(selfproof.selfproof)
for _group in (app, config.app, data.app, kernels.app, port.app, vectors.app):
    for _command in _group.registered_commands:
        _command.cls = Once


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


def run() -> None:
    """Run the command that the arguments name; an error that the user can mend is one line and exit code 2."""
    with end_at_once():
        try:
            try:
                app()
            finally:
                # What waits in a buffer is written here, where a full disk still has a sentence.
                sys.stdout.flush()
        except UserError as error:
            _fail(str(error))
        except ImportError as error:
            missing = without_reference(error)
            if missing is None:
                raise
            _fail(f"{missing}.")
        except OSError as error:
            # A file that cannot be read or written is the user's to mend; the operating system's words say why.
            _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        except (MemoryError, RuntimeError) as error:
            short = without_memory(error)
            if short is None:
                raise
            _fail(f"{short}.")


def _fail(message: str) -> None:
    say(f"Error: {message}", err=True)
    sys.exit(2)
