"""Peak memory of the whole tiny model: linear in the length of a call, flat over training, less in micro-batches.

    make bench    or    python -m benchmarks.scaling [--steps 200] [--threads 2]

Three questions, each answered by processes of their own that train the tiny preset on the shipped text.
Length: the peak of a process that makes a few steps with rows of T tokens, T = 512 to 4,096, batch 1. Growth from one
length to twice that length, divided by the growth before it, is 2 where memory is linear in T and 4 where it is
quadratic; differences leave out what is loaded whatever the length.
Time: the peak after every tenth of the steps of a training run at the preset's own shape.
Parts: the peak of a process that makes a few steps with 16 rows of 512 tokens, in 1 to 16 micro-batches.
"""

import argparse
from itertools import pairwise

from rich.table import Table

from benchmarks.process import Worker
from benchmarks.report import machine, print_table, write_results

LENGTHS = (512, 1024, 2048, 4096)
STEPS_AT_A_LENGTH = 3
PRESET_LENGTH, PRESET_BATCH = 256, 8
MARKS = 10
PARTS, PARTS_LENGTH, PARTS_BATCH = (1, 2, 4, 8, 16), 512, 16


def peak_at(length: int, threads: int) -> float:
    """Return the peak in MiB of a process that makes a few training steps on one row of `length` tokens."""
    with Worker("benchmarks.model_worker", [str(length), "1", "1"], threads) as worker:
        return [worker.step().peak_mib for _ in range(STEPS_AT_A_LENGTH)][-1]


def peaks_over(steps: int, threads: int) -> dict[int, float]:
    """Return the peak in MiB so far, after every tenth of `steps` training steps at the preset's shape."""
    with Worker("benchmarks.model_worker", [str(PRESET_LENGTH), str(PRESET_BATCH), "1"], threads) as worker:
        peaks = [worker.step().peak_mib for _ in range(steps)]
    return {step: peaks[step - 1] for step in range(steps // MARKS, steps + 1, steps // MARKS)}


def peak_in(parts: int, threads: int) -> float:
    """Return the peak in MiB of a process that makes a few training steps in `parts` micro-batches."""
    arguments = [str(PARTS_LENGTH), str(PARTS_BATCH), str(parts)]
    with Worker("benchmarks.model_worker", arguments, threads) as worker:
        return [worker.step().peak_mib for _ in range(STEPS_AT_A_LENGTH)][-1]


def growth_ratios(peaks: dict[int, float]) -> dict[int, float]:
    """Return, by length T, (peak(T) - peak(T/2)) / (peak(T/2) - peak(T/4)): 2 is linear, 4 quadratic."""
    growth = {longer: peaks[longer] - peaks[shorter] for shorter, longer in pairwise(sorted(peaks))}
    return {longer: growth[longer] / growth[shorter] for shorter, longer in pairwise(growth)}


def length_table(peaks: dict[int, float], ratios: dict[int, float]) -> Table:
    """Return peak memory against length as a table."""
    table = Table(title="Peak memory of one training step, tiny preset, batch 1")
    for heading in ("T", "peak MiB", "growth against the growth before (linear 2, quadratic 4)"):
        table.add_column(heading, justify="right")
    for length, peak in peaks.items():
        table.add_row(f"{length:,}", f"{peak:,.0f}", f"{ratios[length]:.2f}" if length in ratios else "")
    return table


def time_table(peaks: dict[int, float]) -> Table:
    """Return peak memory against steps as a table."""
    table = Table(title=f"Peak memory over training, tiny preset, T {PRESET_LENGTH}, batch {PRESET_BATCH}")
    for heading in ("step", "peak MiB", "since the first line"):
        table.add_column(heading, justify="right")
    first = next(iter(peaks.values()))
    for step, peak in peaks.items():
        table.add_row(str(step), f"{peak:,.1f}", f"{peak / first - 1:+.1%}")
    return table


def parts_table(peaks: dict[int, float]) -> Table:
    """Return peak memory against micro-batches as a table."""
    table = Table(title=f"Peak memory of one training step, tiny preset, T {PARTS_LENGTH}, batch {PARTS_BATCH}")
    for heading in ("micro-batches", "peak MiB", "share of one"):
        table.add_column(heading, justify="right")
    for parts, peak in peaks.items():
        table.add_row(str(parts), f"{peak:,.0f}", f"{peak / peaks[PARTS[0]]:.2f}")
    return table


def main() -> None:
    """Measure, print the tables and write the numbers as JSON."""
    parser = argparse.ArgumentParser(description="Measure how peak memory grows with length and with training.")
    parser.add_argument("--steps", type=int, default=200, help="training steps")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch in each process")
    options = parser.parse_args()
    if options.steps < MARKS:
        parser.error(f"--steps must be at least {MARKS}")
    before = machine(options.threads)
    by_length = {length: peak_at(length, options.threads) for length in LENGTHS}
    ratios = growth_ratios(by_length)
    print_table(length_table(by_length, ratios))
    by_step = peaks_over(options.steps, options.threads)
    print_table(time_table(by_step))
    by_parts = {parts: peak_in(parts, options.threads) for parts in PARTS}
    print_table(parts_table(by_parts))
    path = write_results(
        "scaling",
        {
            "machine": before,
            "peak_mib_by_length": by_length,
            "growth_ratio_by_length": ratios,
            "peak_mib_by_step": by_step,
            "peak_mib_by_micro_batches": by_parts,
        },
    )
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
