"""Numbers too small to matter count as zero on a CPU; on a GPU products of float32 are of tf32 beside those of bf16.

A decay that runs through a chunk, 0.1^40 say, is soon below 1.2e-38, the least number that float32 holds in full.
Below that stand its denormals, and on many processors a product with one of them takes a hundred times as long: a
training step of the memory layer took six times as long on a Xeon as it does without them (docs/performance.md).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def without_denormals() -> Iterator[None]:
    """Flush denormals to zero inside, on processors that can; afterwards they are what they were before.

    The threads of torch that begin inside do as this one does.
    """
    before = not keeps_denormals()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def keeps_denormals() -> bool:
    """Return whether half of the least full number of float32 is not zero in this thread."""
    return bool(torch.tensor(torch.finfo(torch.float32).tiny) * 0.5)


@contextmanager
def in_tf32(wanted: bool) -> Iterator[None]:
    """Multiply numbers of float32 on a GPU in tf32 inside, where that is `wanted`: ten bits of each, summed in float32.

    Kernels of a memory go by it (`kernels.launching.precision`), forwards and backwards.
    """
    before = torch.get_float32_matmul_precision()
    if wanted and before == "highest":
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
