"""Two processes out of one, which imports torch for both: that takes longer than what the tests do with them."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from cli.processes import end_at_once
from spec_tests.package.warm.start import warm_python


def environment(rank: int, port: int) -> dict[str, str]:
    """Return what torchrun would tell a process."""
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    quiet = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    return {**os.environ, **quiet, **{name: str(value) for name, value in told.items()}}


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def run_worker(module: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run a worker of this folder, and leave nothing of it behind that still runs."""
    command = [warm_python(), "-m", f"{__package__}.{module}", *map(str, arguments)]
    # No thread may run where a process is forked.
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=quiet, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        try:
            out, words = process.communicate(timeout=300)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(command, process.returncode, out, words)


def in_two(work: Callable[[], None], *, agent: bool) -> int:
    """Do `work` in each of two processes; return the code of the first that fails, when both have ended.

    With `agent` this one keeps the store where they meet, as torchrun does; without it they are as started by hand.
    """
    from torch._C._distributed_c10d import TCPStore

    port = free_port()
    if agent:
        os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "True"
    children = [_forked(work, rank, port) for rank in (0, 1)]
    store = TCPStore("127.0.0.1", port, 2, True, timedelta(seconds=60), wait_for_workers=False) if agent else None
    code = _wait(children)
    del store
    return code


def in_one_of_two(work: Callable[[], None], words: Path) -> int:
    """Do `work` in the first process of two, the second of which never comes; return how it ends.

    What it says on standard error is written to `words`.
    """
    with words.open("w") as said:
        child = _forked(work, 0, free_port(), said.fileno())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _forked(work: Callable[[], None], rank: int, port: int, said: int = 2) -> int:
    """Begin `work` in a process of that rank, whose standard error is the file `said`; return its number."""
    child = os.fork()
    if child:
        return child
    try:
        os.dup2(said, 2)
        os.environ.update(environment(rank, port))
        with end_at_once():
            work()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    os._exit(1)


def _wait(children: list[int]) -> int:
    """Return 0 when all have ended well; where one has not, end the others and return its code."""
    for _ in children:
        _, status = os.wait()
        if status:
            for child in children:
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            return os.waitstatus_to_exitcode(status)
    return 0
