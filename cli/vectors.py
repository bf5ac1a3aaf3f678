"""`atlas vectors`: the stored cases."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atlas_ref.errors import UserError
from atlas_ref.wording import counted
from cli.console import say

if TYPE_CHECKING:
    from spec_tests.vectors.case import Case

app = typer.Typer(
    no_args_is_help=True,
    help="List, export, check and fill the stored cases.",
    rich_markup_mode=None,
)

DIVERGED, INCOMPLETE = 1, 3


class Profile(StrEnum):
    """The precision profiles, here without numpy."""

    F64 = "f64"
    F32 = "f32"
    BF16_IO = "bf16_io"
    BF16_INSIDE = "bf16_inside"
    TF32 = "tf32"


Level = Annotated[int | None, typer.Option(min=0, max=6, help="Only cases of this level.")]
Operation = Annotated[str | None, typer.Option("--op", metavar="OP", help="Only cases of this operation.")]


@app.command("list")
def list_cases(level: Level = None, op: Operation = None) -> None:
    """Print the stored cases and what each is for."""
    from rich.console import Console
    from rich.table import Table

    table = Table("id", "level", "operation", "holds", "why", box=None, pad_edge=False)
    for case in _selected(level, op):
        table.add_row(case.id, f"L{case.level}", case.op, " ".join(case.requirements), case.why)
    Console().print(table)


@app.command("export")
def export_cases(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the questions go, new or empty.")],
    level: Level = None,
    op: Operation = None,
) -> None:
    """Write the questions without the answers.

    They are for a port without an adapter; README.txt there says how to answer.
    """
    from atlas_ref.places import check_unused
    from spec_tests.vectors.export import export

    check_unused(folder, "exported cases")
    count = export(_selected(level, op), folder)
    say(f"{counted(count, 'case')} written to {folder}; {folder / 'README.txt'} says how to answer them.")


@app.command("check")
def check_answers(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Exported cases with answers beside them.")],
    numerics: Annotated[Profile | None, typer.Option(help="Only this precision.")] = None,
) -> None:
    """Judge answers in files.

    Exit 0 where all are right, 1 where one is not, 3 where some are missing.
    """
    from spec_tests.port import Numerics
    from spec_tests.vectors.export import check_answers as check

    passed, wrong, missing = 0, 0, 0
    for found in check(folder, Numerics(numerics) if numerics else None):
        missing += found.missing
        wrong += found.problem is not None and not found.missing
        passed += found.problem is None
        say(f"{found.case.id} {found.numerics}: {found.problem or 'pass'}")
    if passed + wrong + missing == 0:
        raise UserError(f"{folder}: no case here is asked in {numerics}; leave --numerics out to judge what there is.")
    typer.echo(f"passed {passed}, wrong {wrong}, missing {missing} of {passed + wrong + missing}")
    raise typer.Exit(DIVERGED if wrong else INCOMPLETE if missing else 0)


@app.command("fill")
def fill_cases(
    check: Annotated[bool, typer.Option("--check", help="Recompute and compare only; exit 1 on a difference.")] = False,
    new: Annotated[bool, typer.Option("--new", help="Keep what is stored; compute only what is not.")] = False,
) -> None:
    """Compute the stored cases anew, or compare them.

    They come from their sources and both oracles, which takes minutes.
    """
    import torch

    from spec_tests.vectors.check import problems, spec_changed
    from spec_tests.vectors.fill import fill
    from spec_tests.vectors.sources import SOURCES

    torch.set_num_threads(1)
    if not check:
        typer.echo(f"{len(fill(SOURCES, say=say, keep=new))} cases written.")
        return
    found = list(problems(SOURCES))
    for problem in found:
        say(problem)
    if spec_changed():
        typer.echo("The text of the specification has changed since the cases were filled.")
    typer.echo(f"{len(SOURCES)} cases compared, {len(found)} problems.")
    raise typer.Exit(int(bool(found)))


def _selected(level: int | None, op: str | None) -> "tuple[Case, ...]":
    """Return the stored cases of a level and operation; raise UserError where there is none."""
    from spec_tests.port import Op
    from spec_tests.vectors.case import load_cases

    if op is not None and op not in list(Op):
        raise UserError(f"--op {op}: no such operation; valid: {', '.join(Op)}.")
    cases = load_cases(level, None if op is None else Op(op))
    if not cases:
        raise UserError("no stored case has this level and operation; `atlas vectors list` shows them.")
    return cases
