"""Workers: child processes that do one step of work for each line they are sent.

A process of its own gives every subject its own peak memory, and lets steps of several subjects take turns, so that
whatever else the machine is doing falls on all of them alike. The parent never imports torch: on Linux a child's peak
counts from the size its parent had when it started it.
"""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NamedTuple, Self


class Reply(NamedTuple):
    """What a worker says after a step: its seconds, and the largest resident size of the process so far."""

    seconds: float
    peak_mib: float


def peak_mib() -> float:
    """Return the largest resident size of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def serve(step: Callable[[], float]) -> None:
    """Child side: call `step`, which returns seconds, for each line of standard input, and print a reply."""
    for _ in sys.stdin:
        print(json.dumps(Reply(step(), peak_mib())._asdict()), flush=True)


class Worker:
    """Parent side: `python -m module arguments` as a context; each call of `step` is one step of the child."""

    def __init__(self, module: str, arguments: Sequence[str], threads: int) -> None:
        self.name = " ".join([module, *arguments])
        # The variable is read when torch loads, and also bounds the libraries that torch does not ask.
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        command = [sys.executable, "-m", module, *arguments]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def step(self) -> Reply:
        """Let the child make one step and return its reply; RuntimeError if the child ended instead."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with exit code {self.process.wait()} instead of making a step")
        return Reply(**json.loads(line))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the child's input, which ends it, and wait for it."""
        self.process.communicate()
