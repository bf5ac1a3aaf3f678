"""docs/spec/episode.md in numpy: place by place."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.oracle.answer import Arrays, Config, Function
from spec_tests.oracle.sums import FORWARD, Sums
from spec_tests.port import Array, Op

NOTHING: Final = -100


def rows(x: Arrays, mask: int) -> dict[str, Array]:
    """Return both phases of every piece: a walk over its places."""
    shape = (len(x["pieces"]), 2, *x["pieces"].shape[1:])
    found = {name: np.zeros(shape, dtype=np.int64) for name in ("tokens", "answer", "context", "memory")}
    found["targets"] = np.full(shape, NOTHING, dtype=np.int64)
    for row, piece in np.ndindex(*x["lengths"].shape):
        text, length = x["pieces"][row, piece].tolist(), int(x["lengths"][row, piece])
        numbers = [n if at < length else 0 for at, n in enumerate(x["answers"][row, piece].tolist())]
        found["tokens"][row, :, piece] = text
        found["context"][row, :, piece, :1] = 1
        for at in range(min(length, len(text)) - 1):
            found["targets"][row, 0, piece, at] = text[at + 1]
        _asked(found, (row, piece), text, numbers, mask)
    found["memory"][:, 0, :1, :1] = 1
    return found


def _asked(found: dict[str, Array], where: tuple[int, int], text: list[int], numbers: list[int], mask: int) -> None:
    """Write what is masked and asked for in the retrieval phase of one piece."""
    row, piece = where
    for at, number in enumerate(numbers):
        if number == 0:
            continue
        begins = at == 0 or numbers[at - 1] != number
        found["tokens"][row, 1, piece, at] = mask if begins else text[at - 1]
        place = at - 1 if begins else at
        if place >= 0:
            found["targets"][row, 1, piece, place] = text[at]
            found["answer"][row, 1, piece, place] = number


def weights(targets: Array, retrieved: Array, storage: float, retrieval: float) -> Array:
    """Return what each target counts for in the mean over all of them."""
    scored = targets != NOTHING
    asked, told = scored & (retrieved != 0), scored & (retrieved == 0)
    found = np.zeros(targets.shape)
    for places, weight in ((told, storage), (asked, retrieval)):
        found[places] = weight * scored.sum() / max(1, places.sum())
    return found


def losses(logits: Array, targets: Array, weight: Array, sums: Sums = FORWARD) -> Array:
    """Return of each row its part of the loss."""
    scored = max(1, int((targets != NOTHING).sum()))
    wide = logits.astype(np.result_type(logits, np.float64))
    parts = np.zeros(len(targets), dtype=wide.dtype)
    for row, labels in enumerate(targets):
        each = [
            weight[row, t] * (_log_sum(wide[row, t], sums) - wide[row, t, label])
            for t, label in enumerate(labels)
            if label != NOTHING
        ]
        parts[row] = sums.total(np.array(each)) / scored if each else 0.0
    return parts


def _log_sum(logits: Array, sums: Sums) -> Array:
    """Return log sum exp."""
    largest = logits.real.max()
    return np.asarray(np.log(sums.total(np.exp(logits - largest))) + largest)


def _rows(config: Config, x: Arrays, _: Sums) -> Arrays:
    return rows(x, int(config["mask"]))


def _loss(config: Config, x: Arrays, sums: Sums) -> Arrays:
    weight = weights(x["targets"], x["retrieved"], float(config["storage"]), float(config["retrieval"]))
    return {"weights": weight, "losses": losses(x["logits"], x["targets"], weight, sums)}


ANSWERS: Final[Mapping[Op, Function]] = {Op.EPISODE_ROWS: _rows, Op.EPISODE_LOSS: _loss}
