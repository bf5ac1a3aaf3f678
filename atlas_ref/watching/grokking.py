"""Grokking, watched: what is measured at a validation of a run whose questions are all known, and the phase it is in.

    train/accuracy                    on what is trained on, all of it; val/accuracy is that on what is not
    grokking/concentration            share of the five strongest frequencies in the embedding of the numbers
    grokking/concentration_null       what that of the same rows in another order stays below, 99 times in a hundred
    grokking/circular_fit             how round the two main components are; noise has about 0.5
    grokking/circular_order, _null    how well ordered they are, and what another order of the rows stays below
    grokking/weight_norm              Euclidean norm of all parameters
    grokking/phase                    number of the phase (`metrics.grokking_phases`), by its null

The phase is one of the whole run so far, whose measurements stand in its log: a run that goes on reads them there, so
that it finds the phases that one found which was never stopped.
"""

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from atlas_ref.metrics.grokking import circular_fit, fourier_concentration
from atlas_ref.metrics.grokking_phases import NAMES, History, concentration_null, grokking_phases
from atlas_ref.storage.metrics_log import read_metrics

TOP: Final = 5
"""Frequencies that are counted."""
PERMUTATIONS: Final = 200
"""Other orders of the rows behind a null."""
DIGITS: Final = 9
"""Decimals that are kept: the last ones of a Fourier transform and of components depend on where a tensor lies."""
BELOW: Final = 0.99
"""Share of them that stays below it."""
PHASE: Final = "grokking/phase"


class Measured(NamedTuple):
    """One measurement, in the names of `History`."""

    step: int
    training: float
    validation: float
    concentration: float
    null: float
    norm: float


class Keys(NamedTuple):
    """Where the parts of a measurement stand in the log."""

    step: str = "step"
    training: str = "train/accuracy"
    validation: str = "val/accuracy"
    concentration: str = "grokking/concentration"
    null: str = "grokking/concentration_null"
    norm: str = "grokking/weight_norm"


KEYS: Final = Keys()


def read_measured(log: Path) -> list[Measured]:
    """Return the measurements of a log, without those of which a part is missing or not finite."""
    found = (tuple(record.get(key) for key in KEYS) for record in read_metrics(log))
    return [Measured._make(values) for values in found if all(map(_finite, values))]


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


@torch.no_grad()
def measure_embedding(embedding: Float[Tensor, "numbers dim"]) -> dict[str, float]:
    """Return what there is to know of the embedding of the numbers, under the keys of the log (module docstring)."""
    rows = embedding.detach().double()
    orders = permutations(len(rows)).to(rows.device)
    null = concentration_null(rows, orders, TOP).quantile(BELOW)
    circle = circular_fit(rows, orders)
    found = {
        KEYS.concentration: fourier_concentration(rows, TOP),
        KEYS.null: null,
        "grokking/circular_fit": circle.fit,
        "grokking/circular_order": circle.order,
        "grokking/circular_order_null": circle.null.quantile(BELOW),
    }
    return {key: round(float(value), DIGITS) for key, value in found.items()}


@cache
def permutations(numbers: int) -> Int[Tensor, "permutations numbers"]:
    """Return other orders of so many numbers, the same at every measurement of every run."""
    random = np.random.Generator(np.random.Philox(key=numbers))
    return torch.from_numpy(np.stack([random.permutation(numbers) for _ in range(PERMUTATIONS)]))


def phases(measured: Sequence[Measured]) -> list[int]:
    """Return the phase at each measurement, as an index of NAMES."""
    columns = zip(*measured, strict=True) if measured else [()] * len(Measured._fields)
    step, *others = (torch.tensor(column, dtype=torch.float64) for column in columns)
    found: list[int] = grokking_phases(History(step.long(), *others), "null").tolist()
    return found


def told(measured: Measured, phase: int) -> str:
    """Return the sentence that a new phase is announced with."""
    return (
        f"step {measured.step}: {NAMES[phase]} (accuracy {measured.training:.3f} in training, "
        f"{measured.validation:.3f} in validation; concentration {measured.concentration:.3f}, "
        f"by chance below {measured.null:.3f})"
    )
