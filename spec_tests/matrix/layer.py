"""The child process of `spec_tests.matrix.speed`: one forward and backward pass of a layer for each line of input.

    python -m spec_tests.matrix.layer FACTORY DEVICE BATCH TIME WIDTH

It prints the seconds of each pass and the largest memory so far in MiB: on a CPU those of one thread and of the
process, on a GPU from one synchronisation to the next and what was allocated.
"""

import resource
import sys
import time

import torch

from spec_tests.ports.public import layers


def main() -> None:
    """Serve the layer named on the command line."""
    device = torch.device(sys.argv[2])
    batch, length, width = map(int, sys.argv[3:6])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    layer = getattr(layers, sys.argv[1])(width).to(device)
    hidden = torch.randn(batch, length, width, device=device, requires_grad=True)
    cotangent = torch.randn(batch, length, width, device=device)
    for _ in sys.stdin:
        start = now(device)
        torch.autograd.backward(layer(hidden), cotangent)
        seconds = now(device) - start
        layer.zero_grad(set_to_none=True)
        print(seconds, mebibytes(device), flush=True)


def now(device: torch.device) -> float:
    """Return the seconds of this process, or where a GPU works those of the clock when it has ended."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def mebibytes(device: torch.device) -> float:
    """Return the largest memory so far."""
    if device.type == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return torch.cuda.max_memory_allocated() / 2**20


if __name__ == "__main__":
    main()
