"""Parts of the loops of this chapter as they are got wrong; each is called with the right part first."""

from collections.abc import Callable

import numpy as np

from spec_tests.chapters.slot_memory import oracle
from spec_tests.oracle.sums import Sums
from spec_tests.port import Array

Cosine = Callable[[Array, Array, Sums], float]
Novelty = Callable[[Array, Array, Sums], float]
Place = Callable[[Array], int]
Read = Callable[[Array, Array, Sums], tuple[Array, int]]
Step = Callable[[Array, int, Array, Array, float, Sums], tuple[float, Array | float]]


def inner_product(_: Cosine, token: Array, slot: Array, sums: Sums) -> float:
    return float(sums.dot(token, slot))


def zero_is_like_all(right: Cosine, token: Array, slot: Array, sums: Sums) -> float:
    return right(token, slot, sums) if token.any() and slot.any() else 1.0


def with_an_epsilon(_: Cosine, token: Array, slot: Array, sums: Sums) -> float:
    return float(sums.dot(token, slot) / (sums.norm(token) * sums.norm(slot) + 1e-6))


def mean_of_all(_: Novelty, token: Array, found: Array, sums: Sums) -> float:
    """Take the mean similarity for the largest."""
    return 1.0 - float(np.mean([oracle.cosine(token.real, slot.real, sums) for slot in found] or [0.0]))


def zeros_too(right: Novelty, token: Array, found: Array, sums: Sums) -> float:
    """Compare with slots that are not in use, which hold zeros."""
    return min(1.0, right(token, found, sums))


def known_from_nothing(right: Novelty, token: Array, found: Array, sums: Sums) -> float:
    """Give 0 for an empty memory: it stays empty."""
    return right(token, found, sums) if len(found) else 0.0


def last_unused(right: Place, read_at: Array) -> int:
    """Fill from the end."""
    unused = np.flatnonzero(read_at < 0)
    return int(unused[-1]) if len(unused) else right(read_at)


def most_recently_read(_: Place, read_at: Array) -> int:
    return int(np.argmin(np.where(read_at < 0, read_at, -read_at.astype(float) + 1e9)))


def last_of_several(right: Place, read_at: Array) -> int:
    if (read_at < 0).any():
        return right(read_at)
    return len(read_at) - 1 - int(np.argmin(read_at[::-1]))


def unscaled(_: Callable[..., Array], token: Array, used: Array, sums: Sums) -> Array:
    """Leave the root of d out."""
    logits = sums.matvec(used, token)
    raised = np.exp(logits - logits.real.max())
    return np.asarray(raised / sums.total(raised))


def by_cosines(_: Callable[..., Array], token: Array, used: Array, sums: Sums) -> Array:
    raised = np.exp([oracle.cosine(token.real, slot.real, sums) for slot in used])
    return np.asarray(raised / raised.sum())


def one_unused_too(right: Read, token: Array, used: Array, sums: Sums) -> tuple[Array, int]:
    """Give a slot of zeros, which nobody wrote, its share."""
    everything = np.concatenate([used, 0.0 * used[:1]])
    return right(token, everything, sums)[0], right(token, used, sums)[1]


def last_that_weighs_most(right: Read, token: Array, used: Array, sums: Sums) -> tuple[Array, int]:
    weights = oracle.shares(token, used, sums).real
    return right(token, used, sums)[0], len(used) - 1 - int(np.argmax(weights[::-1]))


def read_first(
    right: Step, token: Array, here: int, slots: Array, read_at: Array, threshold: float, sums: Sums
) -> tuple[float, Array | float]:
    """Read what was there, then write."""
    found = right(token, here, slots.copy(), read_at.copy(), np.inf, sums)[1]
    return right(token, here, slots, read_at, threshold, sums)[0], found


def reads_do_not_count(
    right: Step, token: Array, here: int, slots: Array, read_at: Array, threshold: float, sums: Sums
) -> tuple[float, Array | float]:
    """Replace what was written longest ago."""
    before, held = read_at.copy(), slots.copy()
    result = right(token, here, slots, read_at, threshold, sums)
    read_at[:] = np.where((slots != held).any(-1), read_at, before)
    return result


def every_slot_is_read(
    right: Step, token: Array, here: int, slots: Array, read_at: Array, threshold: float, sums: Sums
) -> tuple[float, Array | float]:
    """Take a soft read for a read of all."""
    result = right(token, here, slots, read_at, threshold, sums)
    read_at[read_at >= 0] = here
    return result


def writes_do_not_count(
    right: Step, token: Array, here: int, slots: Array, read_at: Array, threshold: float, sums: Sums
) -> tuple[float, Array | float]:
    """Leave a slot that is written, and that no read finds first, as old as its document."""
    held = slots.copy()
    result = right(token, here, slots, read_at, threshold, sums)
    used = np.flatnonzero(read_at >= 0)
    most = used[oracle.read(token, slots[used], sums)[1]] if len(used) else -1
    changed = (slots != held).any(-1) & (np.arange(len(slots)) != most)
    read_at[changed] = 0
    return result
