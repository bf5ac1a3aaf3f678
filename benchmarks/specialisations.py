"""The three specialisations of the family cognate on the same data: do they behave as they are named?

    python -m benchmarks.specialisations [--device cpu|cuda] [--steps 300] [--seeds 0 1 2] [--jobs 1] [--threads 1]

Trains `cognate-reasoning`, `cognate-memory` and `cognate-speed` (`atlas_ref.config.specialisations`) from the same
seeds on a relay of two symbols: a guess is right half of the time, which is enough for the threshold of speed alone,
and a symbol may be farther away than an iteration can have heard of. On a CPU in a small form, on a GPU with the widths
of the presets. Then rows that nobody trained on are answered, each from an empty memory, leaving the recursion where a
token halts, and the table has

    iterations, slots in use, latency a token, accuracy     each with a 95% interval (`atlas_ref.training.comparison`)

over seeds where there are several, over rows where there is one. Which intervals touch is said below it.
"""

import argparse
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

import torch
from rich.table import Table as Printed
from torch import Tensor

from atlas_ref.config import RunConfig, parse_config
from atlas_ref.config.cognate import CognateConfig
from atlas_ref.config.specialisations import SPECIALISATIONS, specialised
from atlas_ref.data.relay import RelayTask
from atlas_ref.models.family import Model
from atlas_ref.models.registry import build_model
from atlas_ref.training.comparison import HEADINGS, Table, behaviours, cells, over_seeds, table_of, touching
from atlas_ref.training.run import new_run
from atlas_ref.training.step import to_device, train_step
from benchmarks.report import machine, print_table, write_results

ROWS = 512
"""Rows that are judged."""
TASK = (
    "data.source='relay'",
    "data.relay.symbols=2",
    "data.relay.every=20",
    "model.vocab_size=3",
    "data.sequence_length=64",
    "data.context_batches=1",
    "model.positions=64",
    "model.halting.loss_weight=0.5",
    "train.batch_size=32",
    "train.micro_batches=1",
    "train.precision='fp32'",
    "optim.name='adamw'",
    "optim.min_learning_rate=0.0001",
)
WHOLE = ("model.window=2", "optim.learning_rate=0.0005")
"""The widths of the presets: eight layers and an iteration hear of what is eleven places away, each more of three."""
SMALL = (
    "model.d_model=32",
    "model.n_layers=1",
    "model.n_heads=2",
    "model.feed_forward_dim=64",
    "model.window=4",
    "model.ltm.width=16",
    "model.ltm.gate_hidden=16",
    "model.recursion.heads=2",
    "model.recursion.hidden=64",
    "model.init_std=0.1",
    "optim.learning_rate=0.004",
)
"""What a CPU trains in a minute; thresholds and surprise stay those of the presets. One layer and an iteration hear of
what is twelve places away, each more of nine."""
FEWER_SLOTS = 256
"""Of the slots of a preset the small form has one in so many, as its rows have one token in 32."""


def configurations(device: str, seed: int, steps: int) -> Mapping[str, RunConfig]:
    """Return the three on the task."""
    form = SMALL if device == "cpu" else WHOLE
    run = (f"train.seed={seed}", f"train.max_steps={steps}", f"train.device='{device}'", f"train.eval_batches={ROWS}")
    whole = specialised([*TASK, *form, *run, f"optim.warmup_steps={min(20, steps)}"])
    return whole if device == "cuda" else {name: _fewer_slots(name, config) for name, config in whole.items()}


def _fewer_slots(name: str, config: RunConfig) -> RunConfig:
    assert isinstance(config.any_model, CognateConfig)
    slots = config.any_model.ltm.slots // FEWER_SLOTS
    return parse_config(config.model_dump(), name, [f"model.ltm.slots={slots}"])


def train(name: str, config: RunConfig) -> tuple[str, int, dict[str, Tensor], float]:
    """Train one; return its name and seed, its weights, and the seconds of the processor, on a GPU by the clock."""
    device = torch.device(config.train.device)
    run, source = new_run(config, device), RelayTask(config.data, config.train)
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    began = clock()
    for step in range(config.train.max_steps):
        given, replays = source.batch(step), run.replays(config)
        if replays:
            replays.expect(given)
        batch = to_device(given, device)
        result = train_step(run.network, run.optimiser, batch, run.state, step, config, replays=replays)
        run.state = result.output.state
        if step % 100 == 99:
            print(f"seed {config.train.seed}, {name}, step {step + 1}: loss {result.loss:.3f}", flush=True)
    weights = {key: tensor.cpu() for key, tensor in run.model.state_dict().items()}
    return name, config.train.seed, weights, clock() - began


def judge(configs: Mapping[str, RunConfig], weights: Mapping[str, dict[str, Tensor]]) -> Table:
    """Return the table of the three over rows."""
    models: dict[str, Model] = {}
    for name, config in configs.items():
        models[name] = build_model(config.any_model, 0)
        models[name].load_state_dict(weights[name])
        models[name].to(config.train.device)
    first = next(iter(configs.values()))
    return table_of(behaviours(models, RelayTask(first.data, first.train), ROWS // first.train.batch_size))


def show(title: str, table: Table) -> None:
    """Print a table and what it tells apart."""
    printed = Printed(*HEADINGS, title=title)
    for line in cells(table):
        printed.add_row(*line)
    print_table(printed)
    print("\n".join(touching(table)), flush=True)


def main() -> None:
    """Train, print and keep each seed as it comes."""
    parser = argparse.ArgumentParser(description="Train the three specialisations on the same data.")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="small on a CPU, whole on a GPU")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="seeds of weights and data")
    parser.add_argument("--steps", type=int, default=300, help="steps of each run")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--threads", type=int, default=1, help="threads of the processor, for each training")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    before = machine(options.threads)
    plans = {seed: configurations(options.device, seed, options.steps) for seed in options.seeds}
    weights: dict[int, dict[str, dict[str, Tensor]]] = {seed: {} for seed in plans}
    tables: dict[int, Table] = {}
    with ProcessPoolExecutor(options.jobs, get_context("spawn"), torch.set_num_threads, (options.threads,)) as pool:
        futures = [pool.submit(train, name, plan[name]) for plan in plans.values() for name in SPECIALISATIONS]
        for future in as_completed(futures):
            name, seed, found, seconds = future.result()
            weights[seed][name] = found
            print(f"seed {seed}, {name}: {seconds:.1f} s", flush=True)
            if len(weights[seed]) == len(SPECIALISATIONS):
                tables[seed] = judge(plans[seed], weights.pop(seed))
                show(f"seed {seed}, over {ROWS} rows", tables[seed])
                results = {"machine": before, "steps": options.steps, "tables": kept(tables)}
                path = write_results("specialisations", results)
    if len(tables) > 1:
        show(f"over {len(tables)} seeds", over_seeds([*tables.values()]))
    print(f"wrote {path}")


def kept(tables: Mapping[int, Table]) -> dict[int, object]:
    """Return tables as JSON has them."""
    return {
        seed: {name: {key: list(value) for key, value in row.items()} for name, row in table.items()}
        for seed, table in tables.items()
    }


if __name__ == "__main__":
    main()
