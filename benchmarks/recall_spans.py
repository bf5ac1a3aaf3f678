"""Associative recall far back: what does a start of retention that fits the span learn that the preset's does not?

    python -m benchmarks.recall_spans [--pairs 16 32] [--lengths 200 400 1000] [--chunks 16 64] [--seeds 0 1 2]
                                      [--starts span preset] [--device auto] [--jobs 1]

Trains the preset `recall` through the command line with more pairs in longer rows: with `retention_init = "span"`, with
`step_init = "chunk"` besides, with four fifths kept in place of half besides that, and with the numbers of the preset,
of one seed. Accuracy is the share of right answers over the last validation; guessing is right once in 64 times.
"""

import argparse
from collections.abc import Iterable
from itertools import product
from typing import Final, NamedTuple

from atlas_ref.config import load_config
from atlas_ref.config.span import retention_over
from benchmarks.report import as_markdown, machine, write_results
from benchmarks.training_runs import TrainingRun, run_all

GATES: Final = "model.memory.gates"
FITTED: Final = f"{GATES}.retention_init='span'"
LARGE: Final = (f"{GATES}.step_init='chunk'", f"{GATES}.step_max='chunk'")
STARTS: Final = {
    "span": (FITTED,),
    "span and chunk": (FITTED, *LARGE),
    "four fifths": LARGE,
    "preset": (),
}
"""What each start changes in the preset."""


class Cell(NamedTuple):
    """One run of the table."""

    start: str
    pairs: int
    length: int
    chunk: int
    seed: int

    def run(self, device: str) -> TrainingRun:
        """Return the run; rows are whole chunks, so that all of them go in step."""
        length = -(-self.length // self.chunk) * self.chunk
        task: tuple[str, ...] = (
            f"data.recall.pairs={self.pairs}",
            f"data.recall.queries={self.pairs}",
            f"data.sequence_length={length}",
        )
        if self.start == "four fifths":
            farthest = load_config("recall", task).data.span.farthest
            task = (*task, f"{GATES}.retention_init={retention_over(farthest, 0.8)}")
        changes = (
            *task,
            *STARTS[self.start],
            f"model.memory.chunk={self.chunk}",
            f"train.seed={self.seed}",
            f"train.device='{device}'",
            "train.save_interval=200",
        )
        return TrainingRun("recall_spans", "-".join(str(each) for each in self).replace(" ", "-"), "recall", changes)


def cells(
    starts: Iterable[str], pairs: Iterable[int], lengths: Iterable[int], chunks: Iterable[int], seeds: Iterable[int]
) -> list[Cell]:
    """Return all runs, long ones first; of the preset's start there is one seed."""
    found = [Cell(*each) for each in product(starts, pairs, sorted(lengths, reverse=True), chunks, seeds)]
    first = min(each.seed for each in found)
    kept = [each for each in found if each.start != "preset" or each.seed == first]
    return sorted(kept, key=lambda each: (-each.length, each.start == "preset", each.seed))


def markdown(found: dict[Cell, float]) -> str:
    """Return the accuracies: a line for each length, number of pairs and chunk, a column for each start and seed."""
    columns = sorted({(each.start == "preset", each.start, each.seed) for each in found})
    lines = [["tokens", "pairs", "chunk", *(f"{start}, seed {seed}" for _, start, seed in columns)]]
    for length, pairs, chunk in sorted({(each.length, each.pairs, each.chunk) for each in found}):
        line = [found.get(Cell(start, pairs, length, chunk, seed)) for _, start, seed in columns]
        shown = ["" if accuracy is None else f"{accuracy:.1%}" for accuracy in line]
        lines.append([str(length), str(pairs), str(chunk), *shown])
    return as_markdown(lines)


def main() -> None:
    """Train, keep the results after each run, and print the table."""
    parser = argparse.ArgumentParser(description="Train associative recall far back with two starts of retention.")
    parser.add_argument("--pairs", nargs="+", type=int, default=[16, 32], help="pairs in a row, all asked for")
    parser.add_argument("--lengths", nargs="+", type=int, default=[200, 400, 1000], help="tokens in a row")
    parser.add_argument("--chunks", nargs="+", type=int, default=[16, 64], help="chunk lengths")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="seeds of weights and data")
    parser.add_argument("--starts", nargs="+", choices=list(STARTS), default=list(STARTS), help="of the gates")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, of one thread each")
    options = parser.parse_args()
    wanted = cells(options.starts, options.pairs, options.lengths, options.chunks, options.seeds)
    runs = {cell.run(options.device): cell for cell in wanted}
    before, found = machine(1), dict[Cell, float]()
    for run, result in run_all(runs, 1, options.jobs):
        cell = runs[run]
        found[cell] = result.validation("accuracy")[-1][1]
        print(f"{run.name}: {found[cell]:.1%} in {result.summary['seconds']:.0f} s", flush=True)
        rows = [{**each._asdict(), "accuracy": accuracy} for each, accuracy in found.items()]
        path = write_results("recall_spans", {"machine": before, "jobs": options.jobs, "rows": rows})
    print(markdown(found))
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
