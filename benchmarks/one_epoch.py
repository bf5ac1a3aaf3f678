"""One epoch of `cognate-27m` over 300 generated samples, as the source system's own test of its training loop.

    python -m benchmarks.one_epoch [--threads 2] [--samples 300] [--set FIELD=VALUE ...]

The source reports 10.5 to 1.24 in 3.5 minutes on a CPU, with attention that sees the answers. Here the model is causal:
a sample of 64 tokens counts on, modulo 50, from a random start, so that a token says the next one, and nothing else
does. Batches of six, so that the epoch has fifty steps; the preset's optimiser without its warm-up and at higher rates,
as its own are those of ten thousand steps. Loss and a uniform guess are over all 32,768 tokens of the model.
"""

import argparse
import math
import time

import torch

from atlas_ref.config import load_config
from atlas_ref.data.batch import Batch
from atlas_ref.training.run import new_run
from atlas_ref.training.step import train_step
from benchmarks.report import machine, write_results

LENGTH, ROWS, COUNT = 64, 6, 50
RATES = ("optim.learning_rate=0.003", "optim.muon_learning_rate=0.02")
"""Of AdamW and Muon, at their peak."""


def samples(count: int, seed: int) -> torch.Tensor:
    """Return tokens that count on from a random start, [count, LENGTH + 1]."""
    starts = torch.randint(COUNT, (count, 1), generator=torch.Generator().manual_seed(seed))
    return (starts + torch.arange(LENGTH + 1)) % COUNT


def main() -> None:
    """Train, print and keep the losses."""
    parser = argparse.ArgumentParser(description="One epoch of cognate-27m over generated samples.")
    parser.add_argument("--threads", type=int, default=2, help="threads of the processor")
    parser.add_argument("--samples", type=int, default=300, help="samples of the epoch")
    parser.add_argument("--set", dest="fields", action="append", default=[], help="a field of the configuration")
    options = parser.parse_args()
    if options.samples < ROWS:
        parser.error(f"--samples is {options.samples}; it must be at least {ROWS}, a batch")
    torch.set_num_threads(options.threads)
    fields = ("data.source='shakespeare'", "train.precision='fp32'", f"train.batch_size={ROWS}", "train.device='cpu'")
    more = (f"data.sequence_length={LENGTH}", "train.micro_batches=1", "optim.warmup_steps=0", "model.window=64")
    steps = f"train.max_steps={options.samples // ROWS}"
    config = load_config("cognate-27m", [*fields, *more, *RATES, steps, *options.fields])
    run = new_run(config, torch.device("cpu"))
    tokens, losses, began, computed = samples(options.samples, 0), [], time.monotonic(), time.process_time()
    reset = torch.zeros(ROWS, LENGTH, dtype=torch.bool)
    reset[:, 0] = True
    for step in range(options.samples // ROWS):
        rows = tokens[step * ROWS : (step + 1) * ROWS]
        batch = Batch(rows[:, :-1], rows[:, 1:], reset)
        losses.append(train_step(run.network, run.optimiser, batch, run.state, step, config).loss)
        taken = {"seconds": time.monotonic() - began, "cpu_seconds": time.process_time() - computed}
        said = f"{taken['seconds']:.0f} s, {taken['cpu_seconds']:.0f} s of the processor"
        print(f"step {step + 1}: loss {losses[-1]:.3f}, {said}", flush=True)
    print(f"ln of the vocabulary {math.log(config.any_model.vocab_size):.3f}")
    found = {"machine": machine(options.threads), "losses": losses, **taken}
    print(f"wrote {write_results('one_epoch', found)}")


if __name__ == "__main__":
    main()
