"""The child process of `spec_tests.matrix.speed`: one forward and backward pass of a layer for each line of input.

    python -m spec_tests.matrix.layer FACTORY BATCH TIME WIDTH

It prints the CPU seconds of each pass, on one thread, and the largest memory of the process so far in MiB.
"""

import resource
import sys
import time

import torch

from spec_tests.ports.public import layers


def main() -> None:
    """Serve the layer named on the command line."""
    batch, length, width = map(int, sys.argv[2:5])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    layer = getattr(layers, sys.argv[1])(width)
    hidden = torch.randn(batch, length, width, requires_grad=True)
    cotangent = torch.randn(batch, length, width)
    for _ in sys.stdin:
        start = time.process_time()
        torch.autograd.backward(layer(hidden), cotangent)
        seconds = time.process_time() - start
        layer.zero_grad(set_to_none=True)
        print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, flush=True)


if __name__ == "__main__":
    main()
