"""What watching a run costs: the time of a training step with all telemetry beside the same step without any.

    python -m benchmarks.monitoring [--pairs 40] [--only tiny]

Watched is what `atlas train` does at every step: the statistics inside the forward pass, `measure_layers` and the kill
switches. Unwatched is the same step of the same run with these left out. The two take turns (A B A B ...) in one
process on one thread, so that whatever else the machine does falls on both; what counts is the ratio of the medians.
The time of the process (CPU time) is shown beside the clock: where other programs run it is the steadier of the two.
Allowed: 3% of a step, of CPU time.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from statistics import median
from time import perf_counter, process_time
from typing import Final, NamedTuple
from unittest.mock import patch

import torch
from rich.table import Table

from atlas_ref.blocks import mag
from atlas_ref.config import RunConfig, load_config
from atlas_ref.data.batch import BatchSource
from atlas_ref.data.streams import open_source
from atlas_ref.memory import chunked, linear
from atlas_ref.training.run import Run, new_run
from atlas_ref.training.step import StepResult, train_step
from atlas_ref.watching.kill_switches import check
from atlas_ref.watching.monitor import measure_layers
from benchmarks.report import machine, print_table, write_results

ALLOWED: Final = 0.03
WARM_UP: Final = 3
ONE_THREAD: Final = ("train.device='cpu'", "train.threads=1", "train.precision='fp32'")
SHAPES: Final[dict[str, tuple[str, ...]]] = {
    "tiny": (),
    "recall": (),
    "shakespeare-10m": ("train.batch_size=2", "data.sequence_length=512"),
}
"""Presets and what is changed in them: the third is cut short, which makes the share of watching larger."""


class Times(NamedTuple):
    """Seconds of one step on the clock and of the process."""

    clock: float
    process: float


@dataclass(frozen=True)
class Row:
    """Medians in milliseconds, and by what share the watched step is longer, on the clock and in CPU time."""

    name: str
    unwatched_ms: float
    watched_ms: float
    clock_overhead: float
    overhead: float


@contextmanager
def unwatched() -> Iterator[None]:
    """Leave the statistics out of the forward pass."""
    nothing = torch.zeros(1)
    with (
        patch.object(mag, "summarise", lambda *_: None),
        patch.object(linear, "squared_errors", lambda _: nothing),
        patch.object(chunked, "omega_loss", lambda *_: nothing),
    ):
        yield


def plain_step(run: Run, config: RunConfig, source: BatchSource) -> StepResult:
    """Make the next step of a run."""
    result = train_step(run.model, run.optimiser, source.batch(run.step), run.state, run.step, config)
    run.step, run.state = run.step + 1, result.output.state
    return result


def watched_step(run: Run, config: RunConfig, source: BatchSource) -> None:
    """Make the next step and do what the training loop does to watch it."""
    result = plain_step(run, config, source)
    layers = measure_layers(result.output, config.model)
    totals = {"loss": result.loss, "grad_norm": result.grad_norm}
    run.switches, _ = check(run.switches, run.step, totals, layers, config)


def unwatched_step(run: Run, config: RunConfig, source: BatchSource) -> None:
    """Make the next step with no statistics."""
    with unwatched():
        plain_step(run, config, source)


def timed(action: Callable[[], None]) -> Times:
    """Return how long an action takes."""
    clock, process = perf_counter(), process_time()
    action()
    return Times(perf_counter() - clock, process_time() - process)


def measure(name: str, pairs: int) -> Row:
    """Return the medians of `pairs` steps of each kind, after three of each that do not count."""
    config = load_config(name, [*ONE_THREAD, *SHAPES[name]])
    run, source = new_run(config, torch.device("cpu")), open_source(config)
    watched: list[Times] = []
    unwatched: list[Times] = []
    for _ in range(WARM_UP + pairs):
        watched.append(timed(lambda: watched_step(run, config, source)))
        unwatched.append(timed(lambda: unwatched_step(run, config, source)))
    with_it, without = (Times(*map(median, zip(*found[WARM_UP:], strict=True))) for found in (watched, unwatched))
    return Row(
        name,
        1e3 * without.clock,
        1e3 * with_it.clock,
        with_it.clock / without.clock - 1.0,
        with_it.process / without.process - 1.0,
    )


def main() -> None:
    """Measure, print and write the results; exit 1 where watching costs more than is allowed."""
    parser = argparse.ArgumentParser(description="Measure what telemetry and kill switches add to a training step.")
    parser.add_argument("--pairs", type=int, default=40, help="steps of each kind that count")
    parser.add_argument("--only", nargs="+", choices=SHAPES, default=list(SHAPES), help="shapes to measure")
    options = parser.parse_args()
    torch.set_num_threads(1)
    before = machine(threads=1)
    rows = [measure(name, options.pairs) for name in options.only]
    table = Table(title=f"A training step with and without watching ({options.pairs} pairs; allowed {ALLOWED:.0%})")
    table.add_column("shape")
    for heading in ("without, ms", "with, ms", "more, clock", "more, CPU time"):
        table.add_column(heading, justify="right")
    for row in rows:
        times = (f"{row.unwatched_ms:,.1f}", f"{row.watched_ms:,.1f}")
        table.add_row(row.name, *times, f"{row.clock_overhead:+.2%}", f"{row.overhead:+.2%}")
    print_table(table)
    path = write_results("monitoring", {"machine": before, "rows": [asdict(row) for row in rows]})
    print(f"wrote {path}")
    sys.exit(any(row.overhead > ALLOWED for row in rows))


if __name__ == "__main__":
    main()
