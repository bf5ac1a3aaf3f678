"""Dropout whose draws are a function of a row's numbers and of a place: no generator, so nothing to save or to share.

    y = x / (1 - rate) where u(keys, place) >= rate, and 0 elsewhere                            (Srivastava et al. 2014)

u is a hash of the two 32-bit numbers of the row and the number of the place (the two rounds of `lowbias32`, with the
second number between them). A row therefore draws the same whichever rows stand beside it, on every device, and in
every part of the code that knows the place; `row_keys` makes the numbers of the rows from seed and step.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

STREAM = 3
"""The stream of numbers that rows draw from; 0 and 1 are those of the data, 2 that of `training.supervision`."""
GOLDEN = -1640531527
"""2^32 / phi, rounded to an odd number, as a signed one: it sets the sites of a model apart."""
FIRST, SECOND = 0x7FEB352D, 0x846CA68B - 2**32
"""Factors of the two rounds."""


class Drop(NamedTuple):
    """A share to leave out, the two numbers of each row that decide it, and the index of the first token of a call."""

    rate: float
    keys: Int[Tensor, "batch 2"]
    first: int = 0


def row_keys(seed: int, step: int, rows: slice, batch: int) -> Int[Tensor, "rows 2"]:
    """Return the numbers of `rows` among `batch` rows in update `step`: the same, however the batch is cut."""
    random = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, step, STREAM]))
    drawn = random.integers(-(2**31), 2**31, size=(batch, 2), dtype=np.int32)
    return torch.from_numpy(drawn[rows])


def site_keys(keys: Int[Tensor, "batch 2"], sites: int) -> Int[Tensor, "sites batch 2"]:
    """Return numbers of their own for every row at every site of a model that leaves something out."""
    site = GOLDEN * torch.arange(1, sites + 1, dtype=torch.int64, device=keys.device)
    # Wrapped to 32 bits by hand: a conversion of what does not fit is nobody's promise.
    apart = ((site + 2**31) % 2**32 - 2**31).to(torch.int32).view(-1, 1, 1)
    return _round(_round(keys + apart, 16, FIRST), 15, SECOND)


def kept(keys: Int[Tensor, "batch 2"], places: Int[Tensor, "..."], rate: float) -> Bool[Tensor, "batch ..."]:
    """Return which places of each row stay; places are 32-bit numbers and draw independently of one another."""
    first, second = keys.unbind(1)
    ones = (1,) * places.ndim
    drawn = _round(places + first.view(-1, *ones), 16, FIRST).bitwise_xor_(second.view(-1, *ones))
    return _round(drawn, 15, SECOND) >= limit_of(rate)


def limit_of(rate: float) -> int:
    """Return the least of all signed 32-bit numbers that stays where a share of them is left out."""
    return round(rate * 2**32) - 2**31


def dropped(x: Float[Tensor, "batch time width"], drop: Drop | None) -> Float[Tensor, "batch time width"]:
    """Return x with a share of its components left out and the others scaled up; x itself where nothing is to be."""
    if drop is None:
        return x
    time, width = x.shape[1:]
    places = torch.arange(drop.first * width, (drop.first + time) * width, dtype=torch.int32, device=x.device)
    return select(x, kept(drop.keys, places.view(time, width), drop.rate), drop.rate)


def select(x: Float[Tensor, "*shape"], stays: Bool[Tensor, "*shape"], rate: float) -> Float[Tensor, "*shape"]:
    """Return x / (1 - rate) where it stays and zero elsewhere, selected: not even NaN is handed on from there."""
    return torch.where(stays, x / (1.0 - rate), 0.0)


def _round(x: Int[Tensor, "*shape"], shift: int, factor: int) -> Int[Tensor, "*shape"]:
    """Return (x ^ (x >> shift)) * factor of unsigned 32-bit numbers, which are stored as signed ones."""
    return (x >> shift).bitwise_and_(2 ** (32 - shift) - 1).bitwise_xor_(x).mul_(factor)
