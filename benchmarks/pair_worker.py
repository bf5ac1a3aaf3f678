"""The child process of `against`: one pass of a subject for each line of input, with the package of another tree.

    python -P benchmarks/pair_worker.py SUBJECT         with PYTHONPATH at the root of the tree

It prints the seconds of each pass, of the CPU or, for a subject on a GPU, of the clock, and the peak of GPU memory in
GiB. Only what every tree of this project has is imported.
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


def gpu_layer(rows: int, time_steps: int, overrides: str) -> Callable[[], None]:
    """Return one pass of a memory layer of width 1,024 with 16 heads under bfloat16 autocast on the GPU."""
    from atlas_ref.blocks.memory_layer import MemoryLayer
    from atlas_ref.blocks.timeline import make_timeline

    width, heads, chunk = 1024, 16, 64
    fields = ["key_dim=64", "value_dim=64", f"chunk={chunk}", "features.degree=1", *overrides.split(",")]
    shape = [f"model.d_model={width}", f"model.n_heads={heads}"]
    config = load_config("tiny", [*(f"model.memory.{field}" for field in fields), *shape]).model.memory
    norm, memory = torch.nn.RMSNorm(width).cuda(), MemoryLayer(width, heads, config).cuda()
    output = torch.nn.Linear(width, width, bias=False).cuda()
    hidden = torch.randn(rows, time_steps, width, device="cuda", requires_grad=True)

    def step() -> None:
        for module in (norm, memory, output):
            module.zero_grad(set_to_none=True)
        hidden.grad = None
        with torch.autocast("cuda", torch.bfloat16):
            state = memory.initial_state(rows)
            timeline = make_timeline(config, state.context, state.memory.position, None, time_steps)
            y: Tensor = output(memory(norm(hidden), state, timeline).reads)
        torch.autograd.backward(y.sum())
        torch.cuda.synchronize()

    return step


def subject(name: str) -> Callable[[], None]:
    """Return one pass of the subject that `against` names."""
    kind, *details = name.split(":")
    if kind == "gpu":
        return gpu_layer(int(details[0]), int(details[1]), details[2])
    if kind == "layer":
        return layer(int(details[0]), details[1])
    return {"decode": decode, "whole": whole}[kind]()


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
    on_gpu = sys.argv[1].startswith("gpu")
    clock = time.perf_counter if on_gpu else time.process_time
    step = subject(sys.argv[1])
    # Twice: the first pass on a GPU finds its kernels.
    step()
    step()
    for _ in sys.stdin:
        start = clock()
        step()
        seconds = clock() - start
        print(seconds, torch.cuda.max_memory_allocated() / 2**30 if on_gpu else 0.0, flush=True)


if __name__ == "__main__":
    main()
