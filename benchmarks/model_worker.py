"""The child process of `scaling`: one training step of the tiny preset for each line of input.

    python -m benchmarks.model_worker LENGTH BATCH PARTS

LENGTH is the number of tokens of a row in one call, BATCH the number of rows, PARTS the number of micro-batches.
"""

import os
import sys
import time

import torch

from atlas_ref.config import load_config
from atlas_ref.data.streams import open_source
from atlas_ref.training.run import new_run
from atlas_ref.training.step import train_step
from benchmarks.process import serve


def main() -> None:
    """Serve training steps on the shipped text."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    length, batch, parts = sys.argv[1:]
    rows = (f"train.batch_size={batch}", f"train.micro_batches={parts}")
    config = load_config("tiny", [f"data.sequence_length={length}", *rows])
    source = open_source(config)
    run = new_run(config, torch.device("cpu"))

    def step() -> float:
        start = time.perf_counter()
        result = train_step(run.model, run.optimiser, source.batch(run.step), run.state, run.step, config)
        run.state, run.step = result.output.state, run.step + 1
        return time.perf_counter() - start

    serve(step)


if __name__ == "__main__":
    main()
