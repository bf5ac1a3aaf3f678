"""The child process of `memory_layer`: one forward and backward pass of a contender for each line of input.

    python -m benchmarks.layer_worker NAME

Each contender is imported only when it is the one asked for: what it loads is part of its peak memory.
"""

import os
import sys
import time

import torch
from torch import Tensor, nn

from benchmarks.contenders import BATCH, CONTENDERS, TIME, WIDTH, Floor, Ours, Peer
from benchmarks.process import serve

SEED = 0


class Projections(nn.Module):
    """Norm, q, k, v and output projections, and nothing between them."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(WIDTH)
        self.inner = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.output = nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the sum of the three projections, projected once more."""
        inner: Tensor = self.inner(self.norm(hidden))
        output: Tensor = self.output(inner.view(BATCH, TIME, 3, WIDTH).sum(-2))
        return output


def build(contender: Peer | Ours | Floor) -> nn.Module:
    """Return the layer of a contender, a map from hidden states to hidden states."""
    if isinstance(contender, Floor):
        return Projections()
    if isinstance(contender, Ours):
        from benchmarks.our_layer import OurLayer

        return OurLayer(contender)
    from benchmarks.peer_layer import PeerLayer

    return PeerLayer(contender)


def main() -> None:
    """Serve the contender named on the command line."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    # As `atlas train` does, for every contender alike.
    torch.set_flush_denormal(True)
    torch.manual_seed(SEED)
    layer = build(CONTENDERS[sys.argv[1]])
    hidden = torch.randn(BATCH, TIME, WIDTH, requires_grad=True)
    cotangent = torch.randn(BATCH, TIME, WIDTH)

    def step() -> float:
        layer.zero_grad(set_to_none=True)
        hidden.grad = None
        start = time.perf_counter()
        output: Tensor = layer(hidden)
        torch.autograd.backward(output, cotangent)
        return time.perf_counter() - start

    serve(step)


if __name__ == "__main__":
    main()
