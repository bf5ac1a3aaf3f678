"""One command in several processes: the first one decides and speaks, all of them end alike."""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.console import say

if TYPE_CHECKING:
    from atlas_ref.processes.distributed import World
    from atlas_ref.storage.run_directory import Admission
    from cli.plan import Place

USAGE_EXIT_CODE = 2


@contextlib.contextmanager
def one_command() -> "Iterator[World]":
    """Provide the processes that torchrun started; the first one alone prints, and all leave with the same exit code.

    They wait for each other before they leave: torchrun ends the others as soon as one has left with an error, and the
    message of the first must be out by then.
    """
    from atlas_ref.processes.distributed import CommonError, LostProcessError, processes
    from atlas_ref.processes.heartbeat import LOST_EXIT_CODE, WAY_ON

    with processes() as world:
        if world.size == 1:
            yield world
            return
        try:
            with _silence() if not world.main else contextlib.nullcontext():
                yield world
        except CommonError as error:
            if world.main:
                say(f"Error: {error}", err=True)
            world.texts(None)
            raise typer.Exit(USAGE_EXIT_CODE) from error
        except LostProcessError as error:
            if world.main:
                typer.echo(f"Error: {error}{WAY_ON}", err=True)
            raise typer.Exit(LOST_EXIT_CODE) from error
        except typer.Exit:
            world.texts(None)
            raise


@contextlib.contextmanager
def end_at_once() -> Iterator[None]:
    """Where torchrun started several processes, end this one after the block without taking the interpreter down.

    A thread of gloo may still hold the tensors of the last exchange. To let go of them it needs the interpreter, and
    where that is on its way out the thread aborts the process (measured: 3 of 14 starts), which torchrun takes for a
    failure of a run that is complete. An exception other than SystemExit is a defect and ends as ever.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        yield
        return
    code: int | str | None = 0
    try:
        yield
    except SystemExit as end:
        code = end.code
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(code or 0))


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Drop what is printed meanwhile; an error that leaves the block is printed by whoever catches it."""
    with contextlib.ExitStack() as stack:
        nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
        stack.enter_context(contextlib.redirect_stdout(nowhere))
        stack.enter_context(contextlib.redirect_stderr(nowhere))
        yield


def decide_place(world: "World", find: "Callable[[], Place]") -> "Place":
    """Return where to train and from what, as the first process finds it.

    The others must not look for themselves: what they would find depends on how far the first one is.
    """
    from atlas_ref.storage.checkpoint import find_checkpoint
    from cli.plan import Place

    if world.size == 1:
        return find()
    told: str | None = None
    note: str | None = None
    with world.together():
        if world.main:
            found = find()
            note = found.note
            paths = (found.directory, found.checkpoint.path if found.checkpoint else None, found.unsaved)
            told = json.dumps([None if path is None else str(path) for path in paths])
    directory, checkpoint, unsaved = (path and Path(path) for path in json.loads(world.first(told) or ""))
    with world.together():
        return Place(directory, find_checkpoint(checkpoint) if checkpoint else None, unsaved, note)


def decide_admission(world: "World", decide: "Callable[[], Admission]") -> "Admission":
    """Return why the run may start, found by the first process; all leave with its exit code when it may not."""
    from atlas_ref.storage.run_directory import Admission

    told: str | None = None
    with world.together():
        if world.main:
            try:
                told = json.dumps([0, *decide()])
            except typer.Exit as refusal:
                told = json.dumps([refusal.exit_code, None, None])
    code, certificate, skipped = json.loads(world.first(told) or "")
    if code:
        raise typer.Exit(code)
    return Admission(certificate, skipped)
