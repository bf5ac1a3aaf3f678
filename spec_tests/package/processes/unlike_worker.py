"""What `test_processes_unlike` starts: two processes that are asked for different things.

    python -m spec_tests.package.processes.unlike_worker DIRECTORY

Each process has a folder of its own in DIRECTORY and works there, so that one name may mean two files. One start makes
every case; at the end the second process stops, and the first one has to notice. Before that, a process waits for one
that never comes. What optimisers import at their first step, `torch._dynamo`, is imported once for all of them.
"""

import contextlib
import io
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch._dynamo

from atlas_ref.processes import distributed, heartbeat
from atlas_ref.processes.distributed import World, processes
from cli.main import main
from spec_tests.package.micro.runs import UNEXAMINED
from spec_tests.package.processes.forked import in_one_of_two, in_two

SMALL = (
    *("data.sequence_length=16", "train.batch_size=2", "train.max_steps=1", "train.save_interval=1"),
    *("train.eval_batches=1", "optim.warmup_steps=0"),
)
CONFIG = "micro.toml"
"""The file in DIRECTORY that both are asked to train."""
COMMON = ("--config", f"../{CONFIG}")
OTHERS: dict[str, tuple[str, ...]] = {
    "a seed": ("--seed", "7"),
    "an option": ("--resume", "auto"),
    "a field": ("--set", "train.device=auto"),
    "a mistake": ("--set", "train.seeds=1"),
    "nothing": (),
}
"""What the second process alone is asked for, in each case."""
TEXT = ("--set", "data.source=path", "--set", "data.path=text.txt")
NOTICED = "noticed"
"""A named pipe in DIRECTORY."""
ALONE, WORDS = "alone.json", "alone.txt"
"""How the process ended that waited for another in vain, and what it said on standard error."""


def rank() -> int:
    """Return the number of this process."""
    return int(os.environ["RANK"])


def atlas(*arguments: str) -> tuple[int, str]:
    """Run `atlas train` in this process as one of the two; return its exit code and what it says on standard error."""
    words, code = io.StringIO(), 0
    sys.argv = ["atlas", "train", *arguments, *UNEXAMINED]
    with contextlib.redirect_stderr(words), contextlib.redirect_stdout(io.StringIO()):
        try:
            # Where several processes are, the command ends by os._exit, which is not for a case among others.
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("cli.app.end_at_once", contextlib.nullcontext)
                main()
        except SystemExit as end:
            code = int(end.code or 0)
    return code, words.getvalue()


def out(name: str) -> tuple[str, str]:
    """Return the option for a run directory that both processes see."""
    return "--out", str(Path("..", name.replace(" ", "-")).resolve())


def with_others(name: str) -> tuple[int, str]:
    """Return how a case ends in which the second process has other options."""
    mine = OTHERS[name] if rank() == 1 else ()
    return atlas(*COMMON, *out(name), *mine)


def with_other_libraries() -> tuple[int, str]:
    """Return how it ends when the second process has another torch."""
    with pytest.MonkeyPatch.context() as patch:
        if rank() == 1:
            patch.setattr(torch, "__version__", "1.0")
        return atlas(*COMMON, *out("libraries"))


def with_other_files() -> Iterator[tuple[str, tuple[int, str]]]:
    """Yield how runs end that read files of one name, which are not the same."""
    words = [f"document {n} of process {rank()} " for n in range(30)]
    Path("text.txt").write_text("".join(["the first batches are the same " * 20, *words]))
    yield "data", atlas(*COMMON, *TEXT, *out("data"))
    yield "a folder", atlas(*COMMON, "--out", "relative")
    yield "checkpoint", atlas("--resume", "earlier", "--max-steps", "2", *out("on"))


def wait_for_one_that_hangs(world: World, directory: Path) -> list[str]:
    """Return what the first process says while the second one lives and does not come: it waits to be missed."""
    said: list[str] = []

    def tell(text: str, file: object = None, flush: bool = False) -> None:
        del file, flush
        said.append(text)
        if "it runs" in text and len([word for word in said if "it runs" in word]) == 1:
            (directory / NOTICED).write_text("")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heartbeat, "print", tell, raising=False)
        if rank() == 1:
            (directory / NOTICED).read_text()  # a named pipe
        world.texts(None)
    return said


def in_own_folder(directory: Path, world: World) -> None:
    """Make every case and write what this process heard."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributed, "processes", lambda: contextlib.nullcontext(world))
        found = {name: with_others(name) for name in OTHERS}
        found["libraries"] = with_other_libraries()
        found |= with_other_files()
    for name, value in (("BEAT", 0.05), ("NOTICE", 1.0)):
        setattr(heartbeat, name, value)
    world.texts(None)
    hangs = wait_for_one_that_hangs(world, directory)
    (directory / f"found-{rank()}.json").write_text(json.dumps({"ended": found, "hangs": hangs}))


def begin(directory: Path) -> None:
    """Join the other process, make every case, and stop."""
    torch.set_num_threads(1)
    own = directory / str(rank())
    own.mkdir(exist_ok=True)
    os.chdir(own)
    with processes() as world:
        in_own_folder(directory, world)
        world.texts(None)
        heartbeat.LIMIT = 1.5
        if rank() == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        world.texts(None)


def alone() -> None:
    """Wait, not for long, for a process that never comes."""
    for name, value in (("BEAT", 0.05), ("NOTICE", 0.2), ("LIMIT", 0.6)):
        setattr(heartbeat, name, value)
    with processes():
        pass


if __name__ == "__main__":
    place = Path(sys.argv[1])
    (place / ALONE).write_text(json.dumps(in_one_of_two(alone, place / WORDS)))
    sys.exit(in_two(lambda: begin(place), agent=False))
