"""Time of a memory layer with a hierarchy, against one with a single memory in chunks as short, in turns.

    python -m benchmarks.hierarchy_speed [--device auto] [--tokens 16384] [--chunk 8] [--global-chunk 2048]
                                         [--shards 2048 512] [--width 1024] [--heads 16] [--pairs 5] [--threads 1]
                                         [--kernels reference]

Forward and backward of one layer of the preset `tnt-titans` (projections, convolution and gates included) on one row,
both in the plain form or both by kernels: a global memory in long chunks and a local one in short chunks, whose shards
run side by side, beside the same layer with one memory in the short chunks and queries as they are, which is Titans.
Wall time of a GPU that has come to rest, CPU time on a CPU. The ratio is the median over the pairs; above 1 the
hierarchy is faster. The two are different models: what is compared is what a document costs with short chunks (TNT
2511.07343 has 7.7).
"""

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from time import perf_counter, process_time

import torch
from rich.table import Table
from torch import Tensor

from atlas_ref.blocks.branches import memory_branch
from atlas_ref.blocks.timeline import make_timeline
from atlas_ref.config import load_config
from atlas_ref.memory.kernels.choice import Kernels
from atlas_ref.training.run import select_device
from benchmarks.report import machine, print_table, write_results

PRESET = "tnt-titans"


@dataclass(frozen=True)
class Shape:
    """The lengths of a layer and of its document, and the chunks."""

    tokens: int
    width: int
    heads: int
    chunk: int
    global_chunk: int

    def fields(self, shard: int) -> list[str]:
        """Return the fields of the layer: a hierarchy with shards of a length, or 0 for a single memory."""
        head = self.width // self.heads
        memory: dict[str, object] = {"key_dim": head, "value_dim": head, "chunk": self.global_chunk}
        memory |= {"hierarchy.local_chunks": [self.chunk], "hierarchy.local_shards": [shard]}
        if not shard:
            memory = {**memory, "kind": '"single"', "chunk": self.chunk, "qk_projection.kind": '"none"'}
        shape = [f"model.d_model={self.width}", f"model.n_heads={self.heads}"]
        return [*shape, *(f"model.memory.{name}={value}" for name, value in memory.items())]


def layer_pass(shape: Shape, shard: int, device: torch.device, kernels: Kernels) -> Callable[[], None]:
    """Return one pass there and back through a layer."""
    config = load_config(PRESET, shape.fields(shard)).model.memory
    layer = memory_branch(shape.width, shape.heads, config, kernels=kernels)
    layer.initialise(torch.Generator().manual_seed(0), 0.02)
    layer = layer.to(device)
    hidden = torch.randn(1, shape.tokens, shape.width, generator=torch.Generator().manual_seed(1)).to(device)
    leaves: list[Tensor] = [hidden.requires_grad_(), *layer.parameters()]

    def run() -> None:
        state = layer.initial_state(1)
        timeline = make_timeline(config, state.context, state.memory.position, None, shape.tokens)
        reads: Tensor = layer(hidden, state, timeline).reads
        torch.autograd.grad(reads.square().sum(), leaves, allow_unused=True)

    return run


def seconds(run: Callable[[], None], device: torch.device) -> float:
    """Return the time of one pass: of the wall until the GPU rests, or of the CPU."""
    if device.type == "cpu":
        began = process_time()
        run()
        return process_time() - began
    torch.cuda.synchronize(device)
    began = perf_counter()
    run()
    torch.cuda.synchronize(device)
    return perf_counter() - began


def main() -> None:
    """Print a line a shard length."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--tokens", type=int, default=16_384)
    parser.add_argument("--chunk", type=int, default=8, help="of the single memory, and of the local one")
    parser.add_argument("--global-chunk", type=int, default=2048)
    parser.add_argument("--shards", type=int, nargs="+", default=[2048, 512])
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="of a CPU")
    parser.add_argument("--kernels", choices=["reference", "cpu", "triton"], default="reference", help="of both layers")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    device = select_device(asked.device)
    shape = Shape(asked.tokens, asked.width, asked.heads, asked.chunk, asked.global_chunk)
    single = layer_pass(shape, 0, device, asked.kernels)
    table = Table("shard", "seconds", "of a single memory", "times as fast (from, to)")
    rows = []
    for shard in asked.shards:
        hierarchy = layer_pass(shape, shard, device, asked.kernels)
        # The first pair warms up.
        pairs = [(seconds(hierarchy, device), seconds(single, device)) for _ in range(asked.pairs + 1)][1:]
        ratios = sorted(whole / short for short, whole in pairs)
        short, whole = (median(times) for times in zip(*pairs, strict=True))
        span = f"{median(ratios):.2f} ({ratios[0]:.2f}, {ratios[-1]:.2f})"
        table.add_row(f"{shard}", f"{short:.3f}", f"{whole:.3f}", span)
        rows.append({"shard": shard, "seconds": short, "single": whole, "ratios": ratios})
    print_table(table)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    made = {"machine": machine(asked.threads), "device": where, "kernels": asked.kernels}
    found = {**made, **asdict(shape), "rows": rows}
    print(f"wrote {write_results('hierarchy_speed', found)}")


if __name__ == "__main__":
    main()
