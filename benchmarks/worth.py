"""Does a memory pay: the same parameters, tokens and tuning with a memory that writes and without one, on any text.

    python -m benchmarks.worth --texts tinyshakespeare --data DIR [--arms ...] [--seeds 0 1 2] [--steps 600]
        [--devices 2] [--jobs 6] [--seconds S] [--keep] [--set FIELD=VALUE ...]

Every run is `atlas train` of a preset with the changes of `worth_arms`, several at a time, `jobs` on each device. A run
that ends becomes a line of runs/benchmarks/worth/runs.jsonl, and is not made again while that line is there; what
`seconds` leave no time for is stopped, and its line says how far it came, until another call makes it whole. The table
has the best validation of every run in nats a token, and for arms with equal seeds the differences from the first arm
with their 95% interval over pairs. `keep` keeps the best checkpoint, which `python -m benchmarks.worth_where` looks
into.
"""

import argparse
import hashlib
import json
import math
import os
import queue
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from atlas_ref.metrics.mean_interval import mean_interval
from atlas_ref.storage.metrics_log import read_metrics
from benchmarks.report import RESULTS, as_markdown
from benchmarks.training_runs import TrainingRun
from benchmarks.worth_arms import ARMS, SHARED, kind_of, text_changes

LINES = RESULTS / "worth" / "runs.jsonl"


@dataclass(frozen=True)
class Cell:
    """One run of the study."""

    text: str
    arm: str
    seed: int
    run: TrainingRun

    @property
    def key(self) -> str:
        """What a line of results is known by: all that decides the run."""
        return hashlib.sha256(json.dumps([self.text, self.arm, *self.run.overrides]).encode()).hexdigest()[:16]


def cells(options: argparse.Namespace) -> list[Cell]:
    """Return the runs that are asked for: seeds first, so that an early end leaves whole comparisons."""
    found = []
    for text in options.texts:
        kind = kind_of(text)
        preset, shared = SHARED[kind]
        text_fields = text_changes(text, options.data)
        for seed in options.seeds:
            for arm in options.arms or ARMS[kind]:
                numbers = (f"train.seed={seed}", f"train.max_steps={options.steps}", "train.threads=1")
                kept = (f"train.keep_best={str(options.keep).lower()}",)
                changes = last_of_each((*shared, *text_fields, *ARMS[kind][arm], *numbers, *kept, *options.set))
                name = f"{text}-{arm}-{seed}".replace(" ", "-").replace(",", "")
                found.append(Cell(text, arm, seed, TrainingRun("worth", name, preset, changes)))
    return found


def last_of_each(changes: Sequence[str]) -> tuple[str, ...]:
    """Return changes without those that a later one of the same field takes back."""
    return tuple({change.partition("=")[0]: change for change in changes}.values())


def told(lines: Path) -> dict[str, dict[str, Any]]:
    """Return the lines of results by their key."""
    if not lines.exists():
        return {}
    return {line["key"]: line for line in map(json.loads, lines.read_text().splitlines())}


def visible(device: int) -> str:
    """Return the name of a device among those that this process may use."""
    ours = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return ours[device] if ours else str(device)


def run_cell(cell: Cell, device: int, devices: int, until: float) -> dict[str, Any]:
    """Make one run on one device, stop it when its time is over, and return its line."""
    shutil.rmtree(cell.run.directory, ignore_errors=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if devices:
        environment["CUDA_VISIBLE_DEVICES"] = visible(device)
    began = time.monotonic()
    process = subprocess.Popen(
        cell.run.command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        _, said = process.communicate(timeout=max(1.0, until - began))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        _, said = process.communicate()
    return line_of(cell, process.returncode, time.monotonic() - began, said)


def line_of(cell: Cell, code: int, seconds: float, said: str) -> dict[str, Any]:
    """Return what a run has to say for itself."""
    log = cell.run.directory / "metrics.jsonl"
    records = read_metrics(log) if log.exists() else []
    curve = [(record["step"], record["val/loss"]) for record in records if "val/loss" in record]
    best = min(curve, key=lambda point: point[1]) if curve else (0, math.nan)
    speeds = [record["train/tokens_per_second"] for record in records if "train/tokens_per_second" in record]
    return {
        "key": cell.key,
        "text": cell.text,
        "arm": cell.arm,
        "seed": cell.seed,
        "done": code == 0,
        "best": best[1],
        "best_step": best[0],
        "last_step": records[-1]["step"] if records else 0,
        "curve": curve,
        "train": [(r["step"], r["train/loss"]) for r in records if "train/loss" in r and r["step"] % 50 == 0],
        "parameters": next((r["train/parameters"] for r in records if "train/parameters" in r), None),
        "tokens_per_second": sorted(speeds)[len(speeds) // 2] if speeds else None,
        "seconds": round(seconds, 1),
        "error": "" if code in (0, -signal.SIGKILL) else said.strip()[-400:],
        "overrides": list(cell.run.overrides),
    }


def run_all(todo: Sequence[Cell], options: argparse.Namespace) -> None:
    """Make runs in their order, `jobs` on each device at a time, and add the line of each as it ends."""
    waiting: queue.SimpleQueue[Cell] = queue.SimpleQueue()
    for cell in todo:
        waiting.put(cell)
    until, writing = time.monotonic() + options.seconds, threading.Lock()

    def work(device: int) -> None:
        while time.monotonic() < until:
            try:
                cell = waiting.get_nowait()
            except queue.Empty:
                return
            line = run_cell(cell, device, options.devices, until)
            # One write: another study may add to the file too.
            with writing, LINES.open("ab", buffering=0) as stream:
                stream.write(f"{json.dumps(line)}\n".encode())
                print(
                    f"{cell.text} | {cell.arm} | {cell.seed}: {line['best']:.4f} at {line['best_step']} of "
                    f"{line['last_step']}, {line['tokens_per_second']} tokens/s, {line['seconds']} s {line['error']}",
                    flush=True,
                )

    places = [index % max(1, options.devices) for index in range(options.jobs * max(1, options.devices))]
    threads = [threading.Thread(target=work, args=(device,)) for device in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def interval(differences: Sequence[float]) -> str:
    """Return the mean of differences of pairs and its 95% interval by Student's t; the mean alone of one pair."""
    middle, low, high = mean_interval(differences)
    return f"{middle:+.4f}" if len(differences) == 1 else f"{middle:+.4f} ({low:+.4f} to {high:+.4f})"


def markdown(found: Mapping[tuple[str, str], Mapping[int, float]], first: str, seeds: Sequence[int]) -> str:
    """Return the best validation of each arm and seed, and how much more than the first arm's it is, seed by seed."""
    lines = [["text", "arm", *(f"seed {seed}" for seed in seeds), "mean", f"more than {first}"]]
    for (text, arm), values in found.items():
        base = found.get((text, first), {})
        pairs = [values[seed] - base[seed] for seed in seeds if seed in values and seed in base]
        cells_of = [f"{values[seed]:.4f}" if seed in values else "" for seed in seeds]
        more = interval(pairs) if pairs and arm != first else ""
        lines.append([text, arm, *cells_of, f"{mean(values.values()):.4f}", more])
    return as_markdown(lines)


def main() -> None:
    """Make the runs that have no line yet and print the table of all that were asked for."""
    parser = argparse.ArgumentParser(description="Compare memories with what a user would train instead.")
    parser.add_argument("--texts", nargs="+", default=["shipped"], help="shipped, code, long, or a book of --data")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the books")
    parser.add_argument("--arms", nargs="+", help="arms (default: all of worth_arms)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="seeds of weights and data")
    parser.add_argument("--steps", type=int, default=600, help="optimiser steps of each run")
    parser.add_argument("--devices", type=int, default=0, help="GPUs; 0: whatever there is, not chosen")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time on each device")
    parser.add_argument("--seconds", type=float, default=1e6, help="when to stop")
    parser.add_argument("--keep", action="store_true", help="keep the best checkpoint of each run")
    parser.add_argument("--set", nargs="*", default=[], help="further changes of every run")
    options = parser.parse_args()
    LINES.parent.mkdir(parents=True, exist_ok=True)
    asked, before = cells(options), told(LINES)
    run_all([cell for cell in asked if not before.get(cell.key, {}).get("done")], options)
    lines, found = told(LINES), dict[tuple[str, str], dict[int, float]]()
    for cell in asked:
        if cell.key in lines and lines[cell.key]["curve"]:
            found.setdefault((cell.text, cell.arm), {})[cell.seed] = lines[cell.key]["best"]
    print(markdown(found, asked[0].arm, options.seeds))


if __name__ == "__main__":
    main()
