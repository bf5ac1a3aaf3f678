"""CPU time of this tree against that of another commit, in alternating pairs on one thread.

    python -m benchmarks.against COMMIT [--pairs 9]

COMMIT is checked out into a temporary directory. Each subject runs in two processes, one a tree, which take turns, so
whatever else the machine does falls on both alike; the ratio is the median over the pairs. Above 1 this tree is faster.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Final

from rich.table import Table

from benchmarks.report import machine, print_table, write_results

ROOT: Final = Path(__file__).resolve().parents[1]
SUBJECTS: Final = {
    "layer, titans, c = 1": "layer:1024:rule=titans,omega_window=1",
    "layer, omega, c = 1": "layer:1024:rule=omega,omega_window=1",
    "layer, omega, c = 8": "layer:1024:rule=omega,omega_window=8",
    "layer, omega, c = 1, mlp": "layer:1024:rule=omega,omega_window=1,architecture=mlp",
    "layer, atlas, a write a token": "layer:256:rule=atlas,omega_window=1",
    "layer, atlas, a write in 64": "layer:256:rule=atlas,omega_window=1,ttl_update_frequency=64",
    "tiny, forward and backward": "whole",
    "tiny, decoding": "decode",
}


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """Give a temporary tree of `commit`; subprocess.CalledProcessError where there is none."""
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
        subprocess.run(["tar", "x", "-C", folder], input=archive, check=True)
        yield Path(folder)


@contextmanager
def worker(tree: Path, subject: str) -> Iterator["subprocess.Popen[str]"]:
    """Start a process that passes through `subject` with the package of `tree`, once for each line it is sent."""
    command = [sys.executable, "-P", str(ROOT / "benchmarks/pair_worker.py"), subject]
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=tree, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield process
        process.communicate()


def seconds(process: "subprocess.Popen[str]") -> float:
    """Let a worker make one pass and return its CPU seconds."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def pairs(trees: list[Path], subject: str, count: int) -> list[tuple[float, float]]:
    """Return the CPU seconds of `count` passes of the first tree and of the second, taken in turns."""
    with ExitStack() as stack:
        first, second = (stack.enter_context(worker(tree, subject)) for tree in trees)
        return [(seconds(first), seconds(second)) for _ in range(count)]


def main() -> None:
    """Measure, print the table and write the numbers as JSON."""
    parser = argparse.ArgumentParser(description="Time this tree against another commit.")
    parser.add_argument("commit")
    parser.add_argument("--pairs", type=int, default=9, help="passes of each tree that count")
    options = parser.parse_args()
    table = Table(title=f"This tree against {options.commit}: CPU time of one thread, median of {options.pairs} pairs")
    for heading in ("subject", "before, s", "now, s", "times as fast", "from", "to"):
        table.add_column(heading, justify="left" if heading == "subject" else "right", no_wrap=True)
    rows: dict[str, list[tuple[float, float]]] = {}
    with checked_out(options.commit) as before:
        for name, subject in SUBJECTS.items():
            rows[name] = pairs([before, ROOT], subject, options.pairs)
            ratios = sorted(old / new for old, new in rows[name])
            old, new = (median(times) for times in zip(*rows[name], strict=True))
            shown = (f"{old:.4f}", f"{new:.4f}", f"{median(ratios):.2f}", f"{ratios[0]:.2f}", f"{ratios[-1]:.2f}")
            table.add_row(name, *shown)
    print_table(table)
    path = write_results("against", {"machine": machine(1), "commit": options.commit, "pairs": rows})
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
