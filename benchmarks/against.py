"""CPU time of this tree against that of another commit, in alternating pairs on one thread.

    python -m benchmarks.against COMMIT [--pairs 9] [--gpu]

With --gpu: a wider layer on the GPU, by the clock, with the peak of its memory. COMMIT is a commit, which is
checked out into a temporary directory, or a directory that holds its files. Each subject runs in two processes, one a
tree, which take turns, so whatever else the machine does falls on both alike; the ratio is the median over the pairs.
Above 1 this tree is faster.
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
from typing import Final, NamedTuple

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
ON_GPU: Final = {
    "layer, omega, c = 1, 4 rows": "gpu:4:4096:rule=omega,omega_window=1",
    "layer, omega, c = 1, 16 rows": "gpu:16:4096:rule=omega,omega_window=1",
    "layer, atlas, a write in 64, 4 rows": "gpu:4:512:rule=atlas,omega_window=1,ttl_update_frequency=64",
}


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """Give a temporary tree of `commit`, or the tree that it is; subprocess.CalledProcessError where there is none."""
    if Path(commit).is_dir():
        yield Path(commit).resolve()
        return
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


def one_pass(process: "subprocess.Popen[str]") -> tuple[float, float]:
    """Let a worker make one pass and return its seconds and the peak of GPU memory in GiB."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    seconds, peak = map(float, process.stdout.readline().split())
    return seconds, peak


class Pairs(NamedTuple):
    """The seconds of each pass of the first tree and of the second, and the peak of each."""

    seconds: list[tuple[float, float]]
    peaks: tuple[float, float]


def pairs(trees: list[Path], subject: str, count: int) -> Pairs:
    """Return what `count` passes of two trees took, made in turns."""
    with ExitStack() as stack:
        first, second = (stack.enter_context(worker(tree, subject)) for tree in trees)
        found = [(one_pass(first), one_pass(second)) for _ in range(count)]
    return Pairs([(old[0], new[0]) for old, new in found], (found[-1][0][1], found[-1][1][1]))


def main() -> None:
    """Measure, print the table and write the numbers as JSON."""
    parser = argparse.ArgumentParser(description="Time this tree against another commit.")
    parser.add_argument("commit")
    parser.add_argument("--pairs", type=int, default=9, help="passes of each tree that count")
    parser.add_argument("--gpu", action="store_true", help="time a wider layer on the GPU")
    options = parser.parse_args()
    clock = "wall time on the GPU" if options.gpu else "CPU time of one thread"
    table = Table(title=f"This tree against {options.commit}: {clock}, median of {options.pairs} pairs")
    for heading in ("subject", "before, s", "now, s", "times as fast", "from", "to", *["GiB", "now"] * options.gpu):
        table.add_column(heading, justify="left" if heading == "subject" else "right", no_wrap=True)
    rows: dict[str, Pairs] = {}
    with checked_out(options.commit) as before:
        for name, subject in (ON_GPU if options.gpu else SUBJECTS).items():
            rows[name] = pairs([before, ROOT], subject, options.pairs)
            ratios = sorted(old / new for old, new in rows[name].seconds)
            times = [f"{median(side):.4f}" for side in zip(*rows[name].seconds, strict=True)]
            peaks = [f"{peak:.1f}" for peak in rows[name].peaks] if options.gpu else []
            table.add_row(name, *times, *(f"{ratio:.2f}" for ratio in (median(ratios), ratios[0], ratios[-1])), *peaks)
    print_table(table)
    results = {
        "machine": machine(1),
        "commit": options.commit,
        "pairs": {name: p._asdict() for name, p in rows.items()},
    }
    path = write_results("against", results)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
