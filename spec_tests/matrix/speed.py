"""What a layer of each implementation costs beside one of this repository, in alternating pairs.

On a CPU that is one thread, and where there is a GPU the same again there, with more tokens.

Each layer is a process of its own in its own environment. The two of a pair take turns, so whatever else the machine
does falls on both alike; the ratio is the median over the pairs.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from statistics import median
from typing import Final

from spec_tests.matrix.catalogue import Implementation
from spec_tests.matrix.environments import GPU, NotInstalledError, device_name, python_of
from spec_tests.matrix.model import Speed

SHAPES: Final = {"cpu": (2, 256, 64), "cuda": (4, 1024, 64)}
"""Rows, tokens, width."""
PAIRS: Final = 5
OURS: Final = "Reference"


def devices() -> tuple[str, ...]:
    """Return where layers are timed."""
    return ("cpu", "cuda") if Path(GPU).exists() else ("cpu",)


def speeds(implementations: tuple[Implementation, ...]) -> Iterator[Speed]:
    """Yield what the layers of these cost; one that is not installed, or does not run, is left out."""
    for each, device in product(implementations, devices()):
        if each.layer:
            try:
                yield speed(each.name, python_of(each.requires), each.layer, device)
            except (NotInstalledError, OSError, ValueError):
                continue


def speed(name: str, python: Path, layer: str, device: str = "cpu") -> Speed:
    """Return the pairs of one layer and that of this repository; ValueError where a process ends early."""
    with ExitStack() as stack:
        theirs, ours = (
            stack.enter_context(worker(where, factory, device))
            for where, factory in ((python, layer), (Path(sys.executable), OURS))
        )
        # The first pass of each finds its code.
        found = [(one_pass(theirs), one_pass(ours)) for _ in range(PAIRS + 1)][1:]
    ratios = sorted(their[0] / our[0] for their, our in found)
    return Speed(
        name=name,
        device=device_name(device),
        shape=SHAPES[device],
        pairs=PAIRS,
        theirs=median(their[0] for their, _ in found),
        ours=median(our[0] for _, our in found),
        ratio=median(ratios),
        least=ratios[0],
        most=ratios[-1],
        mebibytes=found[-1][0][1],
        our_mebibytes=found[-1][1][1],
    )


@contextmanager
def worker(python: Path, layer: str, device: str) -> Iterator["subprocess.Popen[str]"]:
    """Start a process that passes through a layer once for each line it is sent."""
    command = [str(python), "-W", "ignore", "-m", "spec_tests.matrix.layer", layer, device, *map(str, SHAPES[device])]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        yield process
        process.communicate()


def one_pass(process: "subprocess.Popen[str]") -> tuple[float, float]:
    """Let a process make one pass and return its seconds and MiB; ValueError where it has ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    seconds, mebibytes = map(float, process.stdout.readline().split())
    return seconds, mebibytes
