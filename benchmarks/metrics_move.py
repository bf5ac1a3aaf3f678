"""Do the metrics of the source system move in a real run, all 37 of them?

    python -m benchmarks.metrics_move [--steps 200] [--out DIR]

A small model of the family `cognate`, with running mean and slots, is trained over a curriculum of ten epochs on seven
small sets, one of each domain, written here. Each metric of docs/metrics.md is printed with the number of values that
it took and how far they reach, or with the reason for which it took one. Exit code 1 where one without a reason did.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from atlas_ref.config import load_config
from atlas_ref.storage.metrics_log import read_metrics
from atlas_ref.storage.run_directory import Admission, RunDirectory
from atlas_ref.training.loop import get_ready, train
from benchmarks.report import machine, write_results
from spec_tests.package.metrics.source_measures import CASES
from spec_tests.package.micro.cognate import MICRO
from spec_tests.package.micro.runs import Silence

EPOCHS = 10
SKIPPED = "a small run in which metrics are looked at"
MODEL = (
    "model.d_model=48",
    "model.feed_forward_dim=96",
    "model.positions=192",
    "model.window=64",
    "model.ltm.kind='both'",
    "model.ltm.width=24",
    "model.ltm.slots=64",
    "model.ltm.surprise=0.5",
    "model.ltm.entropy=0.001",
    "model.recursion.heads=3",
    "model.recursion.hidden=96",
    "model.recursion.supervision='source'",
    "model.halting.threshold=0.5",
    "model.halting.loss_weight=0.1",
    "data.sequence_length=96",
    "data.context_batches=2",
    "data.validation_fraction=0.3",
    "data.curriculum.reasoning_epoch=3",
    "data.curriculum.advanced_epoch=5",
    "data.curriculum.judged=12",
    "optim.warmup_steps=10",
    "train.batch_size=8",
    "train.log_interval=1",
    "train.keep_best=false",
)
BY_NATURE = {
    "train/parameters": "the model is the same from the first step to the last",
    "train/trainable_parameters": "all of it learns in every stage: the run has no second stage",
    "train/memory_reserved_bytes": "there is no GPU, whose pool it is of",
}
"""Keys that take one value in such a run, or none, and why."""


def sets(root: Path, count: int = 60) -> Path:
    """Write a set of each domain and return the folder."""
    numbers = range(count)
    rows: dict[str, list[dict[str, Any]]] = {
        "gsm8k": [{"question": f"{n}: {n % 2} and 1?", "answer": f"so\n#### {n % 2 + 1}"} for n in numbers],
        "mbpp": [
            {"text": f"add {n}", "code": f"def f(x): return x+{n}", "test_list": [f"assert f(1)=={n + 1}"]}
            for n in numbers
        ],
        "arc_easy": [
            {
                "question": f"Which burns, {n}?",
                "choices": {"text": ["wood", "iron and salt", "salt"], "label": ["A", "B", "C"]},
                "answerKey": "AB"[n % 3 == 0],
            }
            for n in numbers
        ],
        "piqa": [{"goal": f"open {n}", "sol1": "pull", "sol2": "push it on", "label": int(n % 3 > 0)} for n in numbers],
        "wikitext": [{"text": line} for n in numbers for line in (f" = T{n} = ", "the cat sat " * (n % 5 + 1))],
        "boolq": [{"passage": f"{n} is even.", "question": f"is {n} odd", "answer": n % 3 > 0} for n in numbers],
        "drop": [
            {
                "passage": f"{n}: A has {n % 2}.",
                "question": "how many?",
                "answers_spans": {"spans": [str(n % 2)], "types": ["number"]},
            }
            for n in numbers
        ],
    }
    for name, lines in rows.items():
        (root / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return root


def trained(folder: Path, out: Path, steps: int) -> list[dict[str, Any]]:
    """Train in `out` and return the lines of the log."""
    plan = (f"data.path='{folder}'", f"data.curriculum.epoch_steps={max(1, steps // EPOCHS)}")
    often = (f"train.max_steps={steps}", f"train.save_interval={steps}", f"train.eval_interval={max(1, steps // 20)}")
    config = load_config("cognate-curriculum", [*MICRO, *MODEL, *plan, *often])
    ready = get_ready(config, RunDirectory(out), None, over_unsaved=False)
    train(ready, Admission(None, SKIPPED), Silence(), lambda: False)
    return read_metrics(out / "metrics.jsonl")


def main() -> int:
    """Train, print and keep how the metrics moved; return 1 where one did not."""
    parser = argparse.ArgumentParser(description="Do the metrics of the source system move in a real run?")
    parser.add_argument("--steps", type=int, default=200, help="optimiser steps")
    parser.add_argument("--out", type=Path, help="keep the run here")
    options = parser.parse_args()
    computed = time.process_time()
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "sets").mkdir()
        lines = trained(sets(Path(place) / "sets"), options.out or Path(place) / "run", options.steps)
    found, still = {}, []
    for name, case in CASES.items():
        values = [line[case.key] for line in lines if line.get(case.key) is not None]
        found[name] = {"key": case.key, "lines": len(values), "values": len(set(values)), "reach": reach(values)}
        moved = len(set(values)) > 1
        if not moved and case.key not in BY_NATURE:
            still.append(case.key)
        why = f"{len(set(values)):5} values in {len(values):3} lines, {reach(values)}" if moved else "      constant: "
        print(f"{case.key:29} {why}{'' if moved else BY_NATURE.get(case.key, 'and nobody knows why')}")
    taken = time.process_time() - computed
    print(f"{len(CASES) - len(still)} of {len(CASES)} move or have a reason; {taken:.0f} s of the processor")
    print(f"wrote {write_results('metrics_move', {'machine': machine(1), 'metrics': found, 'cpu_seconds': taken})}")
    return int(bool(still))


def reach(values: list[float]) -> str:
    """Return from where to where values reach."""
    return f"{min(values):.4g} to {max(values):.4g}" if values else "none"


if __name__ == "__main__":
    sys.exit(main())
