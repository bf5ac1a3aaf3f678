"""Episodes to ask about: pieces with answers of one and of several tokens."""

from typing import Final

import numpy as np

from spec_tests.drawing.inputs import generator, normal
from spec_tests.port import Array

MASK: Final = 90


def pieces(seed: int, batch: int = 2, count: int = 2, length: int = 9) -> dict[str, Array]:
    """Return pieces whose answers have one to three tokens, are apart, and may stand at either end or behind it."""
    rng = generator(seed)
    answers = np.zeros((batch, count, length), dtype=np.int64)
    for row in range(batch):
        number = 0
        for piece in range(count):
            at = int(rng.integers(0, 3))
            while at < length:
                size, number = int(rng.integers(1, 4)), number + 1
                answers[row, piece, at : at + size] = number
                at += size + int(rng.integers(1, 4))
    return {
        "pieces": rng.integers(0, MASK, answers.shape),
        "answers": answers,
        "lengths": rng.integers(length - 4, length + 1, (batch, count)),
    }


def scored(seed: int, batch: int = 3, time: int = 6, vocabulary: int = 5) -> dict[str, Array]:
    """Return logits with targets in both phases, in unequal numbers, and some places without one."""
    rng = generator(seed)
    targets = rng.integers(0, vocabulary, (batch, time))
    retrieved = np.broadcast_to(np.arange(time) >= time // 2, targets.shape).astype(np.int64)
    left_out = (rng.random(targets.shape) < np.where(retrieved, 0.6, 0.2)) & (np.arange(time) > 0)
    left_out[0, -1] = False
    return {
        "logits": 2.0 * normal(seed + 1, batch, time, vocabulary),
        "targets": np.where(left_out, -100, targets),
        "retrieved": retrieved,
    }
