"""Kill switches on healthy runs: none may fire, and how near each came to firing.

    python -m benchmarks.healthy_runs --config NAME [--steps 2000] [--seeds 0 1 2] [--device auto] [--threads 1]
                                      [--jobs 1] [--set A.B=C ...]

Trains through the command line, with the kill switches of the configuration and every step in the log. The log is then
read back by the switches themselves: the table has, for each, the value that came nearest to its limit, and the longest
streak outside it, in steps, beside the patience that it would have had to reach.
"""

import argparse
import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from atlas_ref.config import RunConfig, load_config
from atlas_ref.storage.metrics_log import read_metrics
from atlas_ref.storage.switch_state import SwitchState
from atlas_ref.watching.kill_switches import Limit, begun, check, layer_limits, total_limits
from benchmarks.report import as_markdown, machine, write_results
from benchmarks.training_runs import TrainingRun, launch
from cli.train import KILLED_EXIT_CODE

LAYER = "memory/layer_"
"""Before the number and the name of what a layer measured, in the log."""
TOTALS = ("loss", "grad_norm")


class Ended(NamedTuple):
    """A run that has ended: its log, its exit code, and what it said where that is not 0."""

    seed: int
    metrics: list[dict[str, Any]]
    code: int
    words: str


@dataclass
class Nearest:
    """How near one switch came to firing, over all layers and steps that it has seen."""

    limit: Limit
    margin: float = math.inf
    value: float = math.nan
    at: float = math.nan
    streak: int = 0
    readings: int = field(default=0)

    def add(self, limit: Limit, value: float, streak: int) -> None:
        """Take one reading in; `limit` may move, as that of the loss does."""
        self.readings += 1
        self.streak = max(self.streak, streak)
        margin = min(value - limit.low, limit.high - value)
        if margin < self.margin:
            self.margin, self.value = margin, value
            self.at = limit.high if limit.high - value <= value - limit.low else limit.low


def run_of(config: str, seed: int, steps: int, overrides: Sequence[str]) -> TrainingRun:
    """Return the run of a seed, logged at every step."""
    changes = (*overrides, f"train.max_steps={steps}", f"train.seed={seed}", "train.log_interval=1")
    return TrainingRun("healthy_runs", f"{config}-{seed}".replace("/", "_"), config, changes)


def make(run: TrainingRun, seed: int, threads: int) -> Ended:
    """Make one run; one that a switch stops is a result too, and any other failure a RuntimeError."""
    done = launch(run, threads)
    if done.returncode not in (0, KILLED_EXIT_CODE):
        raise RuntimeError(f"{run.name} ended with exit code {done.returncode}: {done.stderr.strip()}")
    log = read_metrics(run.directory / "metrics.jsonl")
    return Ended(seed, log, done.returncode, done.stderr.strip())


def tables_of(line: Mapping[str, Any]) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Return the totals and the table of every layer of a line of the log."""
    totals = {name: line[f"train/{name}"] for name in TOTALS}
    layers: dict[int, dict[str, float]] = {}
    for key, value in line.items():
        if key.startswith(LAYER):
            layer, name = key.removeprefix(LAYER).split("/")
            layers.setdefault(int(layer), {})[name] = value
    return totals, [layers[layer] for layer in sorted(layers)]


def nearest(metrics: Iterable[Mapping[str, Any]], config: RunConfig) -> dict[str, Nearest]:
    """Return how near each switch came, by letting the switches themselves read the log again."""
    found: dict[str, Nearest] = {}
    state = SwitchState()
    for line in metrics:
        totals, layers = tables_of(line)
        limits = [(limit, totals) for limit in total_limits(config, begun(state, totals["loss"]))]
        limits += [(limit, table) for table in layers for limit in layer_limits(config.kill_switches)]
        state, _ = check(state, line["step"], totals, layers, config)
        for limit, table in limits:
            if limit.switch == "non_finite" or limit.metric not in table:
                continue
            starts = [at for key, at in state.since.items() if key.startswith(f"{limit.switch}/")]
            streak = max((line["step"] - at + 1 for at in starts), default=0)
            found.setdefault(limit.switch, Nearest(limit)).add(limit, table[limit.metric], streak)
    return found


def together(of_runs: Sequence[Mapping[str, Nearest]]) -> dict[str, Nearest]:
    """Return, for each switch, the run that came nearest, with the longest streak of any."""
    switches = dict.fromkeys(name for found in of_runs for name in found)
    return {
        name: replace(
            min((found[name] for found in of_runs if name in found), key=lambda each: each.margin),
            streak=max(found[name].streak for found in of_runs if name in found),
        )
        for name in switches
    }


def markdown(found: Mapping[str, Nearest]) -> str:
    """Return a Markdown table with a line for each switch that had something to watch."""
    lines = [["switch", "metric", "nearest value", "limit", "longest streak outside", "patience"]]
    for switch, each in found.items():
        limit = "none yet" if math.isinf(each.at) else f"{each.at:.4g}"
        lines.append(
            [switch, each.limit.metric, f"{each.value:.4g}", limit, f"{each.streak}", f"{each.limit.patience}"]
        )
    return as_markdown(lines)


def as_record(ended: Ended) -> dict[str, object]:
    """Return what is kept of a run."""
    last = ended.metrics[-1] if ended.metrics else {}
    return {"seed": ended.seed, "exit_code": ended.code, "words": ended.words, "last": last}


def main() -> None:
    """Train, print how each run ended, and the table over all of them."""
    parser = argparse.ArgumentParser(description="Train healthy configurations and see whether a kill switch fires.")
    parser.add_argument("--config", required=True, metavar="NAME|PATH")
    parser.add_argument("--steps", type=int, default=2000, help="optimiser steps of each run")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="seeds of weights and data")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute")
    parser.add_argument("--threads", type=int, default=1, help="threads of each run")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="A.B=C", help="change a field")
    options = parser.parse_args()
    overrides = (*options.overrides, f"train.device='{options.device}'")
    before = machine(options.threads)
    runs = {seed: run_of(options.config, seed, options.steps, overrides) for seed in options.seeds}
    with ThreadPoolExecutor(options.jobs) as pool:
        ended = list(pool.map(lambda seed: make(runs[seed], seed, options.threads), runs))
    for each in ended:
        print(f"{options.config}, seed {each.seed}: {len(each.metrics)} steps, exit code {each.code} {each.words}")
    config = load_config(options.config, overrides)
    found = together([nearest(each.metrics, config) for each in ended])
    print(markdown(found))
    rows = {name: {"value": each.value, "limit": each.at, "streak": each.streak} for name, each in found.items()}
    name = f"healthy_runs_{options.config}".replace("/", "_")
    path = write_results(name, {"machine": before, "switches": rows, "runs": [as_record(each) for each in ended]})
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
