"""What a step of `grok-square` costs beside the same step as a bare loop of torch, and what a measurement costs.

    python -m benchmarks.grokking_cost [--steps 200] [--rounds 3]

The bare loop is the recipe and nothing else: the sum of two rows of an embedding, the square between two matrices,
cross-entropy on all trained pairs, AdamW. It has no state, resets, log, clipping, monitor or kill switch. Both take
turns in one process with one thread, which keeps the memory that it frees as that of a run does, and CPU-seconds
count, so what else the machine does touches both alike.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from torch.nn.functional import cross_entropy, linear
from torch.optim import AdamW

from atlas_ref.config import RunConfig, load_config
from atlas_ref.data.streams import open_source
from atlas_ref.processes.heap import keep_freed_memory
from atlas_ref.training.arithmetic import without_denormals
from atlas_ref.training.run import new_run
from atlas_ref.training.step import train_step
from atlas_ref.watching.grokking import measure_embedding
from benchmarks.report import machine, write_results


def ours(config: RunConfig) -> Callable[[], None]:
    """Return a function that makes the next step of a run."""
    run, source = new_run(config, torch.device("cpu")), open_source(config)

    def step() -> None:
        result = train_step(run.network, run.optimiser, source.batch(run.step), run.state, run.step, config)
        run.step, run.state = run.step + 1, result.output.state

    return step


def bare(config: RunConfig) -> Callable[[], None]:
    """Return a function that makes the next step of the loop (module docstring), from the same weights."""
    batch, optim = open_source(config).batch(0), config.optim
    weights = list(new_run(config, torch.device("cpu")).model.parameters())
    rows, first, last = weights
    betas = (optim.beta1, optim.beta2)
    optimiser = AdamW(weights, lr=optim.learning_rate, weight_decay=optim.weight_decay, betas=betas)

    def step() -> None:
        optimiser.zero_grad()
        total = rows[batch.tokens[:, 0]] + rows[batch.tokens[:, 1]]
        loss = cross_entropy(linear(linear(total, first).square(), last), batch.targets[:, 1])
        torch.autograd.backward(loss)
        optimiser.step()

    return step


def milliseconds(act: Callable[[], object], times: int) -> float:
    """Return the CPU-milliseconds of this process for each call."""
    began = time.process_time()
    for _ in range(times):
        act()
    return 1e3 * (time.process_time() - began) / times


@without_denormals()
def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description="Cost of a step of grok-square, beside a bare loop.")
    parser.add_argument("--steps", type=int, default=200, help="steps of a turn")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each, of which the median counts")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    before, config = machine(1), load_config("grok-square")
    table = torch.randn(97, 128, generator=torch.Generator().manual_seed(0))
    acts = {"ours": ours(config), "bare": bare(config), "measurement": lambda: measure_embedding(table)}
    for act in acts.values():
        milliseconds(act, 10)
    turns = [{name: milliseconds(act, options.steps) for name, act in acts.items()} for _ in range(options.rounds)]
    cost = {name: median(turn[name] for turn in turns) for name in acts}
    ratio = median(turn["ours"] / turn["bare"] for turn in turns)
    print(f"CPU-milliseconds: {', '.join(f'{name} {value:.1f}' for name, value in cost.items())}")
    print(f"a step of ours is {ratio:.2f} bare ones")
    print(f"wrote {write_results('grokking_cost', {'machine': before, 'turns': turns})}")


if __name__ == "__main__":
    main()
