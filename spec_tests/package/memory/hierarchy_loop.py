"""The hierarchy of memories as a loop over rows, memories, heads and tokens, in numpy, written from the text of TNT.

Every memory is a matrix under `titans` or `omega`; each token looks for its borders itself, and each gradient is summed
pair by pair. Complex numbers go through, so that a gradient is a complex step. Nothing comes from `atlas_ref`.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Inputs = dict[str, Array]


class Setting(NamedTuple):
    """What is the same for a whole call; a list has an entry for each memory, the global one first."""

    rule: str
    chunks: list[int]
    shards: list[int]
    span: str = "shard"
    boundary: str = "carry"
    mass: bool = False
    momentum_max: float = 0.9
    border: Literal["reset", "m3"] = "reset"
    warmup: int = 2
    logit: float = 0.8

    def divisor(self, m: int) -> float:
        """What `mass` divides a step by."""
        return self.chunks[m] + self.momentum_max / (1.0 - self.momentum_max)

    def inherited(self, crossings: int) -> float:
        """The share of momentum and projection that a shard of `m3` takes over: a ramp, then the learned rate."""
        if crossings < self.warmup:
            return 0.1 + 0.4 * crossings / self.warmup
        return float(1.0 / (1.0 + np.exp(-self.logit)))


@dataclass
class Memory:
    """One memory of one row and head, between two tokens."""

    weights: Array
    momentum: Array
    anchor: Array
    projection: Array
    pairs: list[tuple[Array, Array]]
    """those that the document, or the shard, has so far, oldest first"""


def loop(setting: Setting, inputs: Inputs) -> Array:
    """Return y [batch, time, heads, values] from a fresh start; `reset` marks documents that begin inside the call.

    `retention`, `momentum` and `step` are [batch, time, memories, heads], `window` has the weights by age as one axis
    more, `initial` is [memories, heads, values, keys].
    """
    batch, time, heads, values = inputs["values"].shape
    reads = np.zeros((batch, time, heads, values), dtype=np.result_type(*inputs.values(), np.float64))
    for row in range(batch):
        for m in range(len(setting.chunks)):
            for head in range(heads):
                memory, position = _begun(inputs, m, head), -1
                for t in range(time):
                    position = 0 if inputs["reset"][row, t] else position + 1
                    reads[row, t, head] += _token(setting, inputs, memory, (row, t, m, head), position)
    return reads


def _begun(inputs: Inputs, m: int, head: int) -> Memory:
    first = inputs["initial"][m, head]
    size = inputs["keys"].shape[-1]
    return Memory(first, 0 * first, first, np.zeros((size, size)), [])


def _enter_shard(setting: Setting, memory: Memory, start: Memory, crossings: int) -> None:
    """Restart a memory; `crossings` is how many borders of its document lie behind it, -1 at the document's start."""
    momentum, projection, pairs = memory.momentum, memory.projection, memory.pairs
    vars(memory).update(vars(start))
    if crossings < 0:
        return
    if setting.border == "m3":
        share = setting.inherited(crossings)
        memory.momentum, memory.projection, memory.pairs = share * momentum, share * projection, pairs
    if setting.span == "document":
        memory.projection = projection


def _token(setting: Setting, inputs: Inputs, memory: Memory, place: tuple[int, int, int, int], position: int) -> Array:
    """Take one token in, and return what the memory reads for it."""
    row, t, m, head = place
    chunk, shard = setting.chunks[m], setting.shards[m]
    if position == 0 or (shard and position % shard == 0):
        _enter_shard(setting, memory, _begun(inputs, m, head), position // shard - 1 if position else -1)
    if position % chunk == 0:
        memory.anchor = memory.weights
        if setting.span == "chunk":
            memory.projection = 0 * memory.projection
    key, value, query = (inputs[name][row, t, head] for name in ("keys", "values", "queries"))
    memory.pairs.append((key, value))
    _write(setting, inputs, memory, place, position % chunk)
    memory.projection = memory.projection + np.outer(key, key) / (key @ key)
    if m == 0:
        read: Array = memory.anchor @ query
    else:
        read = memory.weights @ (query if setting.span == "none" else memory.projection @ query)
    return read


def _write(setting: Setting, inputs: Inputs, memory: Memory, place: tuple[int, int, int, int], phase: int) -> None:
    row, t, m, head = place
    retention, decay, step = (inputs[name][row, t, m, head] for name in ("retention", "momentum", "step"))
    window = inputs["window"][row, t, m, head]
    gradient = 0 * memory.weights
    seen = phase + 1 if setting.boundary == "truncate" else len(memory.pairs)
    for age in range(min(len(window), seen)):
        key, value = memory.pairs[-1 - age]
        pair = np.outer(memory.anchor @ key - value, key)
        if setting.mass:
            square = key @ key
            pair = pair / (square if square.real > 1.0 else 1.0) / len(window)
        gradient = gradient + window[age] * pair
    fresh = 1.0 - decay if setting.mass else 1.0
    step = step / setting.divisor(m) if setting.mass else step
    if setting.rule == "titans":
        memory.momentum = decay * memory.momentum - fresh * step * gradient
        memory.weights = retention * memory.weights + memory.momentum
    else:
        memory.momentum = decay * memory.momentum + fresh * gradient
        memory.weights = retention * memory.weights - step * memory.momentum
