"""`atlas port`: ports in other processes."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atlas_ref.wording import counted
from cli.console import say

if TYPE_CHECKING:
    from spec_tests.process.check import Finding

HELP = "Begin a port, check a program, run one case."
REFERENCE = "spec_tests.ports.reference:ReferencePort"
COMMAND = "cmd:"

Name = Annotated[str, typer.Option("--port", metavar="PKG.MODULE:FACTORY|cmd:PROGRAM", help="The implementation.")]

app = typer.Typer(no_args_is_help=True, help=HELP, rich_markup_mode=None)


class Precision(StrEnum):
    """The profiles, named here so that help needs no numpy."""

    F64 = "f64"
    F32 = "f32"
    BF16_IO = "bf16_io"
    BF16_INSIDE = "bf16_inside"
    TF32 = "tf32"


class Language(StrEnum):
    """The languages that a port can begin in (`spec_tests.ports.skeletons`)."""

    PYTHON = "python"
    TRITON = "triton"
    CPP = "cpp"
    JAVASCRIPT = "javascript"


@app.command("new")
def new(
    language: Annotated[Language, typer.Argument(help="The language.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where it goes; made where it is not.")],
) -> None:
    """Write a port of one operation that passes.

    Its file, what it needs beside it, a workflow for CI. Nothing that is there
    is written over.
    """
    from spec_tests.ports.skeletons import write_skeleton

    skeleton = write_skeleton(language, folder)
    say(f"wrote {folder / skeleton.file}: one operation, l2_normalize. Next, in {folder}:")
    for command in skeleton.commands:
        say(f"    {command}")


@app.command("serve", context_settings={"allow_extra_args": True, "allow_interspersed_args": False})
def serve(
    context: typer.Context,
    port: Annotated[str, typer.Option(metavar="PKG.MODULE:FACTORY", help="The Python port to serve.")] = REFERENCE,
) -> None:
    """Answer the protocol on standard input and output.

    After `run`, answer one case from files.
    """
    from spec_tests.process.server import main

    raise typer.Exit(main([port, *context.args]))


@app.command("check")
def check(
    port: Annotated[str, typer.Argument(metavar="cmd:PROGRAM|PKG.MODULE:FACTORY", help="What to examine.")],
) -> None:
    """Say what to mend in a program that speaks the protocol.

    It is played canned messages; exit 0 where all is well, else 1.
    """
    from spec_tests.process import check as examination
    from spec_tests.process.client import ProcessPort

    with ProcessPort(_command(port)) as program:
        findings = list(examination.check(program))
    _print_findings(findings)
    raise typer.Exit(int(any(finding.problem is not None for finding in findings)))


@app.command("run")
def run(
    op: Annotated[str, typer.Option(help="The operation.")],
    numerics: Annotated[Precision, typer.Option(help="The precision.")],
    config: Annotated[Path, typer.Option(metavar="JSON", help="Its configuration: one JSON object.")],
    given: Annotated[Path, typer.Option("--in", metavar="SAFETENSORS", help="Its inputs.")],
    answer: Annotated[Path, typer.Option("--out", metavar="SAFETENSORS", help="Where its outputs go.")],
    port: Name = REFERENCE,
    taps: Annotated[str, typer.Option(metavar="A,B", help="Intermediate values to show too.")] = "",
) -> None:
    """Run one case from files.

    Exit 0, 3 where it is unsupported, 1 where the port fails.
    """
    from atlas_ref.places import check_file
    from spec_tests.port import Numerics
    from spec_tests.process.load import load_port
    from spec_tests.process.server import parse_taps, run_once

    check_file(answer, "--out", is_tensors)
    answer.absolute().parent.mkdir(parents=True, exist_ok=True)
    raise typer.Exit(run_once(load_port(port), op, Numerics(numerics), config, given, answer, parse_taps(op, taps)))


@app.command("schema")
def schema() -> None:
    """Print the messages of the protocol as JSON Schema.

    The table of operations is part of it: arrays, axes, configuration.
    """
    import json

    from spec_tests.process.protocol import schema as whole

    typer.echo(json.dumps(whole(), indent=2))


@app.command("table")
def table() -> None:
    """Print every operation in one line.

    Level, name, configuration, inputs, outputs and taps: name[axes]:role, with
    a for activation, p for parameter, s for state, i for index. A terminal
    gets the lines folded.
    """
    import shutil
    import sys
    import textwrap

    from spec_tests.process.table import lines

    width = shutil.get_terminal_size().columns
    for line in lines():
        folded = textwrap.wrap(line, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
        typer.echo("\n".join(folded) if sys.stdout.isatty() else line)


@app.callback()
def _group() -> None: ...


def is_tensors(path: Path) -> bool:
    """Return whether a file begins as safetensors do: the length of a header, and the header."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        return stream.read(1) == b"{" and length < path.stat().st_size


def _command(port: str) -> str:
    """Return the command line of a port; a port of this process is served in one of its own."""
    import shlex
    import sys

    from spec_tests.process.load import load_port

    if port.startswith(COMMAND):
        return port.removeprefix(COMMAND)
    load_port(port)
    return shlex.join([sys.executable, "-m", "spec_tests.process.server", port])


def _print_findings(findings: "list[Finding]") -> None:
    for finding in findings:
        say(f"{'FAILED' if finding.problem else 'passed'}  {finding.step}")
        if finding.problem:
            say(f"        {finding.problem}")
            say(f"        To do: {finding.advice}")
    passed = sum(finding.problem is None for finding in findings)
    say(f"{passed} of {counted(len(findings), 'step')} passed.")
