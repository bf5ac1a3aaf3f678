"""CPU time of a local memory with its shards side by side, against the same memory without shards, in turns.

    python -m benchmarks.folded_shards [--tokens 4096] [--chunk 8] [--pairs 5]

Forward and backward of one matrix memory (titans, c = 1) of one row and two heads of 32 features on one thread. The
ratio is the median over the pairs; above 1 the folded memory is faster. The two are different memories: what is
compared is what a document costs with a small chunk.
"""

import argparse
from statistics import median
from time import process_time
from typing import Final

import torch
from rich.table import Table
from torch import Tensor

from atlas_ref.memory.folding import run_folded
from atlas_ref.memory.rules import Gates, MemoryRule
from atlas_ref.memory.state import fresh_memory_state
from benchmarks.report import machine, print_table, write_results

HEADS, WIDTH = 2, 32
SHARDS: Final = (512, 128)


class Subject:
    """One memory and a document, which both ways are asked."""

    def __init__(self, tokens: int, chunk: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.rule = MemoryRule("matrix", "titans", chunk, "carry", "post", 0.5, "mass", 0.9, "quintic", 5)
        self.tokens = tokens
        shape = (1, tokens, HEADS)
        self.pairs = [torch.randn(*shape, WIDTH, generator=generator).requires_grad_() for _ in range(3)]
        rates = [torch.rand(*shape, generator=generator) for _ in range(3)]
        self.gates = Gates(0.9 + 0.1 * rates[0], 0.8 * rates[1], rates[2], torch.ones(*shape, 1))
        self.initial = (torch.randn(HEADS, WIDTH, WIDTH, generator=generator).requires_grad_(),)

    def seconds(self, shard: int) -> float:
        """Return the CPU time of one pass there and back; 0 is no shards."""
        marks: Tensor | None = None
        if shard:
            marks = (torch.arange(self.tokens) % shard == 0).unsqueeze(0)
        state = fresh_memory_state(self.initial, 1, 1, WIDTH, WIDTH)
        began = process_time()
        keys, values, queries = self.pairs
        reads = run_folded(self.rule, keys, values, queries, self.gates, self.initial, state, marks).reads
        torch.autograd.grad(reads.sum(), [*self.pairs, *self.initial])
        return process_time() - began


def main() -> None:
    """Print a line a shard length."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--chunk", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    subject = Subject(asked.tokens, asked.chunk)
    table = Table("shard", "seconds", "without shards", "times as fast (from, to)")
    results = []
    for shard in SHARDS:
        pairs = [(subject.seconds(shard), subject.seconds(0)) for _ in range(asked.pairs + 1)][1:]
        ratios = sorted(whole / folded for folded, whole in pairs)
        folded, whole = (median(times) for times in zip(*pairs, strict=True))
        table.add_row(
            f"{shard}", f"{folded:.3f}", f"{whole:.3f}", f"{median(ratios):.2f} ({ratios[0]:.2f}, {ratios[-1]:.2f})"
        )
        results.append({"shard": shard, "seconds": folded, "without_shards": whole, "ratios": ratios})
    print_table(table)
    found = {"machine": machine(1), "tokens": asked.tokens, "chunk": asked.chunk, "rows": results}
    print(f"wrote {write_results('folded_shards', found)}")


if __name__ == "__main__":
    main()
