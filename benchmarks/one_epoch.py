"""One epoch of `cognate-27m` over 300 generated samples, as the source system's own test of its training loop.

    python -m benchmarks.one_epoch [--threads 2] [--samples 300]

The source reports 10.5 to 1.24 in 3.5 minutes on a CPU, with attention that sees the answers. Here the model is causal:
a sample of 64 tokens counts on, modulo 50, from a random start, so that a token says the next one, and nothing else
does. Batches of six, the preset's optimiser without its warm-up.
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


def samples(count: int, seed: int) -> torch.Tensor:
    """Return tokens that count on from a random start, [count, LENGTH + 1]."""
    starts = torch.randint(COUNT, (count, 1), generator=torch.Generator().manual_seed(seed))
    return (starts + torch.arange(LENGTH + 1)) % COUNT


def main() -> None:
    """Train, print and keep the losses."""
    parser = argparse.ArgumentParser(description="One epoch of cognate-27m over generated samples.")
    parser.add_argument("--threads", type=int, default=2, help="threads of the processor")
    parser.add_argument("--samples", type=int, default=300, help="samples of the epoch")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    fields = ("data.source='shakespeare'", "train.precision='fp32'", f"train.batch_size={ROWS}", "train.device='cpu'")
    more = (f"data.sequence_length={LENGTH}", "train.micro_batches=1", "optim.warmup_steps=0", "model.window=64")
    config = load_config("cognate-27m", [*fields, *more, f"train.max_steps={max(1, options.samples // ROWS)}"])
    run = new_run(config, torch.device("cpu"))
    tokens, losses, began = samples(options.samples, 0), [], time.monotonic()
    reset = torch.zeros(ROWS, LENGTH, dtype=torch.bool)
    reset[:, 0] = True
    for step in range(options.samples // ROWS):
        rows = tokens[step * ROWS : (step + 1) * ROWS]
        batch = Batch(rows[:, :-1], rows[:, 1:], reset)
        losses.append(train_step(run.network, run.optimiser, batch, run.state, step, config).loss)
        print(f"step {step + 1}: loss {losses[-1]:.3f}, {time.monotonic() - began:.0f} s", flush=True)
    print(f"ln of the vocabulary {math.log(config.any_model.vocab_size):.3f}")
    found = {"machine": machine(options.threads), "losses": losses, "seconds": time.monotonic() - began}
    print(f"wrote {write_results('one_epoch', found)}")


if __name__ == "__main__":
    main()
