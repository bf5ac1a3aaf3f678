"""The three specialisations of the family cognate on the same data: do they behave as they are named?

    python -m benchmarks.specialisations [--device cpu|cuda] [--steps 300] [--seeds 0 1 2] [--threads 1]

Trains `cognate-reasoning`, `cognate-memory` and `cognate-speed` (`atlas_ref.config.specialisations`) on the generated
task `relay` from the same seeds: on a CPU in a small form, on a GPU with the widths of the presets. Then rows that
nobody trained on are answered, each from an empty memory, leaving the recursion where a token halts, and the table has

    iterations, slots in use, latency a token, accuracy     each with a 95% interval (`atlas_ref.training.comparison`)

over seeds where there are several, over rows where there is one. Which intervals touch is said below it. `relay` asks
for the last symbol of a row, so how often a model has to look differs from place to place.
"""

import argparse
import time
from collections.abc import Mapping

import torch
from rich.table import Table as Printed

from atlas_ref.config import RunConfig, parse_config
from atlas_ref.config.cognate import CognateConfig
from atlas_ref.config.specialisations import specialised
from atlas_ref.data.batch import Batch
from atlas_ref.data.relay import RelayTask
from atlas_ref.models.family import Model
from atlas_ref.training.comparison import HEADINGS, Table, behaviours, cells, over_seeds, table_of, touching
from atlas_ref.training.run import new_run
from atlas_ref.training.step import to_device, train_step
from benchmarks.report import machine, print_table, write_results

ROWS = 512
"""Rows that are judged."""
TASK = (
    "data.source='relay'",
    "model.vocab_size=5",
    "data.sequence_length=48",
    "data.context_batches=1",
    "model.positions=48",
    "model.window=5",
    "train.batch_size=32",
    "train.micro_batches=1",
    "train.precision='fp32'",
    "optim.name='adamw'",
    "optim.min_learning_rate=0.0001",
)
SMALL = (
    "model.d_model=32",
    "model.n_layers=1",
    "model.n_heads=2",
    "model.feed_forward_dim=64",
    "model.ltm.width=16",
    "model.ltm.gate_hidden=16",
    "model.recursion.heads=2",
    "model.recursion.hidden=64",
    "model.init_std=0.1",
    "optim.learning_rate=0.004",
)
"""What a CPU trains in seconds; thresholds and surprise stay those of the presets."""
FEWER_SLOTS = 256
"""Of the slots of a preset the small form has one in so many, as its rows have one token in 43."""


def configurations(device: str, seed: int, steps: int) -> Mapping[str, RunConfig]:
    """Return the three on the task."""
    form = SMALL if device == "cpu" else ()
    run = (f"train.seed={seed}", f"train.max_steps={steps}", f"train.device='{device}'", f"train.eval_batches={ROWS}")
    whole = specialised([*TASK, *form, *run, f"optim.warmup_steps={min(20, steps)}"])
    return whole if device == "cuda" else {name: _fewer_slots(name, config) for name, config in whole.items()}


def _fewer_slots(name: str, config: RunConfig) -> RunConfig:
    assert isinstance(config.any_model, CognateConfig)
    slots = config.any_model.ltm.slots // FEWER_SLOTS
    return parse_config(config.model_dump(), name, [f"model.ltm.slots={slots}"])


def train(config: RunConfig, steps: int) -> tuple[Model, float]:
    """Train one and return it with the seconds of the processor, on a GPU by the clock."""
    device = torch.device(config.train.device)
    run, source = new_run(config, device), RelayTask(config.data, config.train)
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    began = clock()
    for step in range(steps):
        batch: Batch = to_device(source.batch(step), device)
        run.state = train_step(run.network, run.optimiser, batch, run.state, step, config).output.state
    return run.model, clock() - began


def examine(device: str, seed: int, steps: int) -> Table:
    """Train the three from a seed and return their table over rows."""
    models, source = {}, None
    for name, config in configurations(device, seed, steps).items():
        models[name], seconds = train(config, steps)
        source = RelayTask(config.data, config.train)
        print(f"seed {seed}, {name}: {seconds:.1f} s", flush=True)
    assert source is not None
    return table_of(behaviours(models, source, ROWS // 32))


def show(title: str, table: Table) -> None:
    """Print a table and what it tells apart."""
    printed = Printed(*HEADINGS, title=title)
    for line in cells(table):
        printed.add_row(*line)
    print_table(printed)
    print("\n".join(touching(table)), flush=True)


def main() -> None:
    """Train, print and keep."""
    parser = argparse.ArgumentParser(description="Train the three specialisations on the same data.")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="small on a CPU, whole on a GPU")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="seeds of weights and data")
    parser.add_argument("--steps", type=int, default=300, help="steps of each run")
    parser.add_argument("--threads", type=int, default=1, help="threads of the processor")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    before = machine(options.threads)
    tables = []
    for seed in options.seeds:
        tables.append(examine(options.device, seed, options.steps))
        show(f"seed {seed}, over {ROWS} rows", tables[-1])
    if len(tables) > 1:
        show(f"over {len(tables)} seeds", over_seeds(tables))
    kept = [{name: {key: list(value) for key, value in row.items()} for name, row in table.items()} for table in tables]
    path = write_results("specialisations", {"machine": before, "steps": options.steps, "tables": kept})
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
