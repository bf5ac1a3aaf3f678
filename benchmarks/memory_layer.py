"""Speed and peak memory of one memory layer, forward and backward, beside titans-pytorch 0.5.5.

    make bench    or    python -m benchmarks.memory_layer [--repeats 7] [--threads 2]

Width 256, 4 heads of 64, 1,024 tokens, batch 2, chunks of 64, fp32. Every contender has a process of its own; after a
warm-up the contenders take turns (A B C A B C ...), and the median pass counts. Memory is the peak of the whole
process, the libraries it loads included. Each of our memories is set against the fastest setting of titans-pytorch
with a memory of the same kind, and against its fastest setting of all.

The machine must be idle: OpenMP threads wait in a loop, so with two cores and one other busy process two threads can be
ten times slower than one. Where idleness cannot be had, `--threads 1` gives steadier numbers.
"""

import argparse
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from statistics import median
from typing import NamedTuple

from rich.table import Table

from benchmarks.contenders import BATCH, CHUNK, CONTENDERS, HEADS, TIME, WIDTH, Kind, Peer
from benchmarks.process import Worker
from benchmarks.report import machine, print_table, write_results


@dataclass(frozen=True)
class Row:
    """Tokens a second at the median, slowest and fastest pass, and the peak of the process in MiB."""

    name: str
    kind: Kind
    peer: bool
    tokens_per_second: float
    slowest: float
    fastest: float
    peak_mib: float


class Comparison(NamedTuple):
    """How one of our memories stands to a setting of titans-pytorch: times its speed, share of its peak memory."""

    against: str
    speed: float
    memory: float


def measure(names: Iterable[str], repeats: int, warm_up: int, threads: int) -> list[Row]:
    """Run every contender `warm_up` times and then `repeats` times in turns, and return their numbers."""
    passes: dict[str, list[float]] = {}
    peaks: dict[str, float] = {}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for name in names:
            worker = stack.enter_context(Worker("benchmarks.layer_worker", [name], threads))
            # Loading and warming up one after the other, so that no more than one process computes at a time.
            for _ in range(warm_up):
                worker.step()
            workers[name] = worker
        for _ in range(repeats):
            for name, worker in workers.items():
                reply = worker.step()
                passes.setdefault(name, []).append(BATCH * TIME / reply.seconds)
                peaks[name] = reply.peak_mib
    return [summarise(name, passes[name], peaks[name]) for name in workers]


def summarise(name: str, speeds: list[float], peak: float) -> Row:
    """Return the row of one contender from its tokens a second in each pass."""
    contender = CONTENDERS[name]
    is_peer = isinstance(contender, Peer)
    return Row(name, contender.kind, is_peer, median(speeds), min(speeds), max(speeds), peak)


def compare(row: Row, peers: Iterable[Row]) -> Comparison:
    """Return how `row` stands to the fastest of `peers`."""
    best = max(peers, key=lambda peer: peer.tokens_per_second)
    return Comparison(best.name, row.tokens_per_second / best.tokens_per_second, row.peak_mib / best.peak_mib)


def comparisons(rows: list[Row]) -> dict[str, dict[str, Comparison]]:
    """Return, for each of our memories, its standing to the best peer of its kind and to the best of all."""
    peers = [row for row in rows if row.peer]
    return {
        row.name: {
            "same_kind": compare(row, (peer for peer in peers if peer.kind == row.kind)),
            "any_kind": compare(row, peers),
        }
        for row in rows
        if not row.peer and row.kind != "floor"
    }


def table(rows: list[Row], standings: dict[str, dict[str, Comparison]]) -> Table:
    """Return the numbers as a table; the layer's own memory is what its peak has above that of the projections."""
    title = f"One layer, forward + backward: width {WIDTH}, {HEADS} heads, T {TIME}, batch {BATCH}, chunk {CHUNK}"
    caption = (
        "x same, x any: times the speed (share of the peak) of titans-pytorch's fastest setting of that kind, of any"
    )
    result = Table(title=title, caption=caption)
    result.add_column("layer", no_wrap=True)
    for heading in ("tokens/s", "from", "to", "peak MiB", "own MiB", "x same", "x any"):
        result.add_column(heading, justify="right", no_wrap=True)
    floor = next(row.peak_mib for row in rows if row.kind == "floor")
    for row in rows:
        speeds = [f"{speed:,.0f}" for speed in (row.tokens_per_second, row.slowest, row.fastest)]
        pair = standings.get(row.name, {}).values()
        ratios = [f"{standing.speed:.2f} ({standing.memory:.2f})" for standing in pair]
        result.add_row(row.name, *speeds, f"{row.peak_mib:,.0f}", f"{row.peak_mib - floor:,.0f}", *ratios)
    return result


def as_json(
    rows: list[Row], standings: dict[str, dict[str, Comparison]], before: dict[str, object]
) -> dict[str, object]:
    """Return everything a reader needs to check the table."""
    return {
        "machine": before,
        "shape": {"width": WIDTH, "heads": HEADS, "time": TIME, "batch": BATCH, "chunk": CHUNK},
        "rows": [asdict(row) for row in rows],
        "comparisons": {name: {which: s._asdict() for which, s in pair.items()} for name, pair in standings.items()},
    }


def main() -> None:
    """Measure, print the table and write the numbers as JSON."""
    parser = argparse.ArgumentParser(description="Time one memory layer beside titans-pytorch.")
    parser.add_argument("--repeats", type=int, default=7, help="passes that count, of each layer")
    parser.add_argument("--warm-up", type=int, default=3, help="passes before them")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch in each process")
    options = parser.parse_args()
    if options.repeats < 1:
        parser.error("--repeats must be at least 1")
    before = machine(options.threads)
    rows = measure(CONTENDERS, options.repeats, options.warm_up, options.threads)
    standings = comparisons(rows)
    print_table(table(rows, standings))
    path = write_results("memory_layer", as_json(rows, standings, before))
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
