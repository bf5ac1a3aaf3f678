"""The child process of `against`: one pass of a subject for each line of input, with the package of another tree.

    python -P benchmarks/pair_worker.py SUBJECT         with PYTHONPATH at the root of the tree

It prints the CPU seconds of each pass. Only what every tree of this project has is imported.
"""

import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from atlas_ref.config import load_config
from atlas_ref.models.atlas import AtlasModel
from atlas_ref.models.session import Session

BATCH, WIDTH, SEED = 2, 256, 0
DECODED = 16


def layer(time_steps: int, overrides: str) -> Callable[[], None]:
    """Return one forward and backward pass of a memory layer with its projections."""
    from benchmarks.contenders import Ours
    from benchmarks.our_layer import OurLayer

    module = OurLayer(Ours(kind="matrix", overrides=tuple(overrides.split(","))))
    hidden = torch.randn(BATCH, time_steps, WIDTH, requires_grad=True)
    cotangent = torch.randn(BATCH, time_steps, WIDTH)

    def step() -> None:
        module.zero_grad(set_to_none=True)
        hidden.grad = None
        output: Tensor = module(hidden)
        torch.autograd.backward(output, cotangent)

    return step


def decode() -> Callable[[], None]:
    """Return the reading of a few tokens one by one, by the preset `tiny`."""
    session = Session(AtlasModel(load_config("tiny", []).model, SEED), batch=1)

    def step() -> None:
        with torch.inference_mode():
            for token in range(DECODED):
                session(torch.tensor([[token]]))

    return step


def whole() -> Callable[[], None]:
    """Return a forward and backward pass of the preset `tiny` over 4 rows of 256 tokens."""
    config = load_config("tiny", []).model
    model = AtlasModel(config, SEED)
    tokens = torch.randint(config.vocab_size, (4, 256))

    def step() -> None:
        model.zero_grad(set_to_none=True)
        logits: Tensor = model(tokens, model.initial_state(4), None).logits
        torch.autograd.backward(logits.logsumexp(-1).mean())

    return step


def main() -> None:
    """Serve the subject named on the command line."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(SEED)
    kind, *details = sys.argv[1].split(":")
    step = {"decode": decode, "whole": whole}[kind]() if not details else layer(int(details[0]), details[1])
    step()
    for _ in sys.stdin:
        start = time.process_time()
        step()
        print(time.process_time() - start, flush=True)


if __name__ == "__main__":
    main()
