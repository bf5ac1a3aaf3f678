"""Batches before they are asked for: the next one is made beside the step that runs, and lies where a GPU can fetch it.

A batch is a function of its number alone, so it does not matter when it is made, or by which thread.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import torch

from atlas_ref.data.batch import Batch, BatchSource


@contextmanager
def batches(source: BatchSource, device: torch.device, *, alone: bool) -> Iterator[Callable[[int], Batch]]:
    """Give what returns the training batch of a step: on a GPU made ahead, elsewhere, where a thread would only take
    from the step, when it is asked for. `alone` says that no other process takes part in the step."""
    if device.type != "cuda":
        yield source.batch
        return
    ahead = Ahead(source, pinned=alone)
    try:
        yield ahead.batch
    finally:
        ahead.close()


class Ahead:
    """The training batches of a source; after each that was asked for, a thread makes the one behind it."""

    def __init__(self, source: BatchSource, *, pinned: bool) -> None:
        # To take memory that stays where it is may wait for all that a GPU was given; if that waits for another process
        # too, which a thread of its own keeps waiting, neither goes on (pytorch issue 31095).
        self._pinned = pinned and torch.cuda.is_available()
        self._source = source
        self._thread = ThreadPoolExecutor(1, "batches")
        self._made: dict[int, Future[Batch]] = {}

    def batch(self, step: int) -> Batch:
        """Return the batch of a step; what it raised beside the step before it raises here."""
        waiting = self._made.pop(step, None)
        found = self._make(step) if waiting is None else waiting.result()
        self._made = {step + 1: self._thread.submit(self._make, step + 1)}
        return found

    def _make(self, step: int) -> Batch:
        batch = self._source.batch(step)
        # Memory that stays where it is, which a GPU fetches by itself.
        return batch.map(torch.Tensor.pin_memory) if self._pinned else batch

    def close(self) -> None:
        """Let the thread end, whatever it has begun."""
        self._thread.shutdown(wait=True, cancel_futures=True)
