"""What follows from weights alone: made once by whoever reads token by token, and not again at every token.

    with keeping(kept):                      `kept` belongs to whoever reads (`models.session`)
        made = once(make, weight, ...)       make(), or what it returned before of the same weights

Nothing that is computed depends on it. A weight is the same if it is the same tensor in the same place, and torch has
counted no change of it, by an optimiser or from a checkpoint; what is written into `weight.data` it does not count.
Nothing is kept where there may be a graph or another dtype, which is outside inference mode and under autocast, nor on
a GPU, where a replayed graph changes weights uncounted.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from operator import is_
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

Made = TypeVar("Made")


class Kept(NamedTuple):
    """What was made, of which weights, and how often each had been changed and where it lay."""

    made: Any
    weights: tuple[Tensor, ...]
    stamps: list[tuple[int, int]]


Store = dict[Callable[[], Any], Kept]
"""What is kept, by what made it."""

_store: ContextVar[Store | None] = ContextVar("_store", default=None)


@contextmanager
def keeping(kept: Store) -> Iterator[None]:
    """Let `once` find in `kept` what was made before, until the context ends."""
    token = _store.set(kept)
    try:
        yield
    finally:
        _store.reset(token)


def once(make: Callable[[], Made], *weights: Tensor) -> Made:
    """Return what `make` makes of `weights` and nothing else (module docstring)."""
    store = _store.get()
    if store is None or not torch.is_inference_mode_enabled() or torch.is_autocast_enabled("cpu"):
        return make()
    found = store.get(make)
    if found is None or not all(map(is_, found.weights, weights)) or found.stamps != _stamps(weights):
        # Of what was made in inference mode no change is counted.
        if not all(weight.is_cpu and not weight.is_inference() for weight in weights):
            return make()
        found = store[make] = Kept(make(), weights, _stamps(weights))
    made: Made = found.made
    return made


def _stamps(weights: tuple[Tensor, ...]) -> list[tuple[int, int]]:
    """Return for each weight how often it was changed and where it lies."""
    return [(weight._version, weight.data_ptr()) for weight in weights]
