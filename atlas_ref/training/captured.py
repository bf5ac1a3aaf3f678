"""Work on buffers that a GPU does again without launches, and numbers that it tells the host without a wait."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


class Captured:
    """Work on tensors that stay where they are, as a CUDA graph; on a CPU the work itself."""

    def __init__(self, work: Callable[[], None], device: torch.device, beside: "Captured | None" = None) -> None:
        """Record it, which does nothing yet; raise RuntimeError where a graph cannot hold it.

        What is replayed by turns with what is `beside` has its memory in common with it.
        """
        self._work = work
        self._graph: torch.cuda.CUDAGraph | None = None
        if device.type == "cuda":
            graph = torch.cuda.CUDAGraph()
            pool = None if beside is None or beside._graph is None else beside._graph.pool()
            # What another thread does, which pins the next batch meanwhile, is no part of the graph and no error.
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                work()
            self._graph = graph

    def replay(self) -> None:
        """Do the work on what the tensors hold."""
        if self._graph is None:
            self._work()
        else:
            self._graph.replay()


class Told:
    """Numbers on their way to the host."""

    def __init__(self) -> None:
        self._host: Tensor | None = None
        self._there: torch.Event | None = None

    def send(self, numbers: Float[Tensor, " count"]) -> None:
        """Have numbers sent behind all that the device was given so far; the host goes on."""
        if not numbers.is_cuda:
            self._host = numbers
            return
        if self._host is None or self._there is None:
            self._host = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
            self._there = torch.Event(numbers.device)
        self._host.copy_(numbers, non_blocking=True)
        self._there.record()

    def wait(self) -> Float[Tensor, " count"]:
        """Return what was sent last, on the host, as soon as it is there."""
        assert self._host is not None
        if self._there is not None:
            self._there.synchronize()
        return self._host.clone()
