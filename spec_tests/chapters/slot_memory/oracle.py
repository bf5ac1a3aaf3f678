"""docs/spec/slot_memory.md in numpy: one row, one token at a time."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.oracle.answer import Arrays, Config, Function
from spec_tests.oracle.sums import FORWARD, Sums
from spec_tests.port import Array, Op


def cosine(token: Array, slot: Array, sums: Sums) -> float:
    """Return the cosine of two vectors, 0 where one of them is zero."""
    lengths = sums.norm(token), sums.norm(slot)
    return float(sums.dot(token / lengths[0], slot / lengths[1])) if all(lengths) else 0.0


def novelty(token: Array, found: Array, sums: Sums) -> float:
    """Return 1 less the largest cosine with the slots that a token finds; it is data and has no derivative."""
    return 1.0 - max((cosine(token.real, slot.real, sums) for slot in found), default=0.0)


def is_written(new: float, threshold: float) -> bool:
    """Return whether a token of this novelty is written."""
    return new > threshold


def place(read_at: Array) -> int:
    """Return the slot that is written next: the first that is not in use, or the one that was read longest ago."""
    return int(np.argmin(read_at))


def shares(token: Array, used: Array, sums: Sums) -> Array:
    """Return the weight of each slot in use in the read of a token."""
    logits = sums.matvec(used, token) / np.sqrt(token.shape[-1]).astype(token.real.dtype)
    raised = np.exp(logits - logits.real.max())
    return np.asarray(raised / sums.total(raised))


def read(token: Array, used: Array, sums: Sums) -> tuple[Array, int]:
    """Return what a token reads, and which of the slots in use weighs most."""
    weights = shares(token, used, sums)
    return sums.total(weights[:, None] * used, axis=0), int(np.argmax(weights.real))


def stored(token: Array) -> Array:
    """Return what a slot holds of the token that is written into it."""
    return token


def step(
    token: Array, here: int, slots: Array, read_at: Array, threshold: float, sums: Sums
) -> tuple[float, Array | float]:
    """Return novelty and read of one token, and change slots and `read_at` as it does."""
    new = novelty(token, slots[read_at >= 0], sums)
    if is_written(new, threshold):
        into = place(read_at)
        slots[into], read_at[into] = stored(token), here
    used = np.flatnonzero(read_at >= 0)
    if not len(used):
        return new, 0.0
    found, most = read(token, slots[used], sums)
    read_at[used[most]] = here
    return new, found


def row(
    x: Array, slots: Array, read_at: Array, position: Array, threshold: float, sums: Sums = FORWARD
) -> tuple[Array, Array, Array, Array]:
    """Return novelties, `read_at`, slots and reads of one row."""
    dtype = np.result_type(x, slots)
    slots, read_at = np.where(read_at[:, None] < 0, 0.0, slots).astype(dtype), read_at.copy()
    novelties, reads = np.zeros(len(x), x.real.dtype), np.zeros(x.shape, dtype)
    for t, token in enumerate(x):
        if position[t] == 0:
            slots[:], read_at[:] = 0.0, -1
        novelties[t], reads[t] = step(token, int(position[t]), slots, read_at, threshold, sums)
    return novelties, read_at, slots, reads


def slot_memory(x: Arrays, threshold: float, sums: Sums = FORWARD) -> dict[str, Array]:
    """Return the results of every row."""
    given = zip(x["x"], x["slots"], x["read_at"], x["position"], strict=True)
    rows = [row(*parts, threshold, sums) for parts in given]
    # Of no rows at all the shapes are those of what is given.
    like = {"novelty": x["x"][..., 0].real, "read_at": x["read_at"], "slots": x["slots"], "y": x["x"]}
    return {
        name: np.array([found[i] for found in rows]) if rows else given for i, (name, given) in enumerate(like.items())
    }


def _slot_memory(config: Config, x: Arrays, sums: Sums) -> Arrays:
    return slot_memory(x, float(config["threshold"]), sums)


ANSWERS: Final[Mapping[Op, Function]] = {Op.SLOT_MEMORY: _slot_memory}
