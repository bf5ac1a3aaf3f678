"""Grokking as phases that a detector can see: memorised, circuits forming, cleaned up, grokked (arXiv 2301.05217).

Deliberately different from the source system, whose phases could not be reached: its accuracies were never passed on,
its concentration ended at 0.5 where 0.8 was asked for, and its slopes were taken over entries of a list.
"""

from typing import Final, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from atlas_ref.metrics.grokking import check_top, share_of_strongest, with_mirror_images

Judge = Literal["null", "source"]
NONE, MEMORISATION, CIRCUIT, CLEANUP, GROKKED = range(5)
NAMES: Final = ("none", "memorisation", "circuit formation", "cleanup", "grokked")

RECENT: Final = 5
"""Measurements over which a slope is taken, the last one included."""
CERTAIN: Final = 2.0
"""Standard errors that a slope must be away from zero."""
HELD: Final = 3
"""Measurements in a row at which a grokked model is right."""
LATE: Final = 2
"""How many times as many steps generalising must have taken as memorising."""
SOURCE: Final = (0.3, 0.6, 0.8)
"""What the source system asks of the concentration in its three later phases. Of eleven models of ours that generalised
five passed 0.8, two of them for twenty steps: what an architecture has for an end is no property of grokking
(docs/grokking.md)."""


class History(NamedTuple):
    """What was measured of a run, measurement by measurement, in the order of its steps.

    step:          optimiser steps made
    training:      accuracy on what is trained on
    validation:    accuracy on what is not
    concentration: `fourier_concentration` of the embedding of the numbers
    null:          what the concentration of the same rows in another order stays below (`concentration_null`)
    norm:          of all weights
    """

    step: Int[Tensor, " measurements"]
    training: Float[Tensor, " measurements"]
    validation: Float[Tensor, " measurements"]
    concentration: Float[Tensor, " measurements"]
    null: Float[Tensor, " measurements"]
    norm: Float[Tensor, " measurements"]


def concentration_null(
    embedding: Float[Tensor, "numbers dim"], permutations: Int[Tensor, "permutations numbers"], top: int
) -> Float[Tensor, " permutations"]:
    """Return the concentration of the rows in each other order: what a table without any order of numbers has.

    With r(d) = sum_n <row pi(n), row pi(n + d)> = r(p - d) the energy of a frequency is sum_d r(d) cos(2 pi k d / p)
    (Wiener and Khinchin), so the products of rows are taken once for all orders pi, and half of the sums;
    `fourier_concentration` of the rows in each order is the same number. Raises UserError for a `top` below 1.
    """
    check_top(top)
    rows = (embedding - embedding.mean(0)).double()
    products, places = (rows @ rows.mT).flatten(), torch.arange(len(rows), device=rows.device)
    behind = (places + places[: len(rows) // 2 + 1].unsqueeze(-1)) % len(rows)
    half = products[len(rows) * permutations.unsqueeze(1) + permutations[:, behind]].sum(-1)
    lags = torch.cat([half, half[:, 1 : (len(rows) + 1) // 2].flip(-1)], -1)
    # Rounding alone takes a frequency that is not there below zero.
    energy = torch.fft.rfft(lags).real[:, 1:].clamp(min=0.0)
    return share_of_strongest(with_mirror_images(energy, len(rows)), top).to(embedding.dtype)


def grokking_phases(history: History, judge: Judge) -> Int[Tensor, " measurements"]:
    """Return the phase at each measurement, an index of NAMES, from what was known by then (decision `circles`).

    memorisation: training >= 0.99, validation < 0.5 and no more concentration than chance has, or no circuits so far
    circuit:      validation < 0.9, more concentration than chance has, and rising, and the norm of the weights falling
    cleanup:      validation >= 0.9 and the norm of the weights falling
    grokked:      validation >= 0.95 at three measurements in a row, the run of which began at twice the steps, or
                  later, at which training first reached 0.99
    The last of these that holds is the phase; where none does, the phase before goes on. A value rises where the
    least-squares slope over the last five measurements, against their steps, is positive by more than two of its
    standard errors. By the `source` the three later phases need a concentration above 0.3, 0.6 and 0.8 instead.
    """
    step, right, concentration = history.step, history.validation, history.concentration
    beyond = [concentration > (history.null if judge == "null" else least) for least in SOURCE]
    if judge == "null":
        beyond[1:] = [torch.ones_like(beyond[0])] * 2
    memorised, falling = history.training >= 0.99, rising(step, -history.norm)
    circuit = (right < 0.9) & beyond[0] & rising(step, concentration) & falling
    holds = torch.stack(
        [
            torch.ones_like(memorised),
            memorised & (right < 0.5) & ~(beyond[0] & _so_far(circuit)),
            circuit,
            (right >= 0.9) & beyond[1] & falling,
            _late(step, memorised, right >= 0.95) & beyond[2],
        ]
    )
    index = torch.arange(len(holds), device=step.device).unsqueeze(-1)
    latest = torch.where(holds, index, NONE).amax(0)
    return _carried(latest)


def rising(step: Int[Tensor, " measurements"], value: Float[Tensor, " measurements"]) -> Bool[Tensor, " measurements"]:
    """Return at which measurements the slope of the last five is positive by more than two standard errors.

    With x the steps and y the values less their means, of n measurements:
    slope = x.y / x.x,   error^2 = (y.y - slope x.y) / ((n - 2) x.x)
    Three measurements at least have an error; one of zero is exceeded by any positive slope.
    """
    found = torch.zeros_like(step, dtype=torch.bool)
    for last in range(3, len(step) + 1):
        recent = slice(max(0, last - RECENT), last)
        x, y = step[recent].double(), value[recent].double()
        x, y = x - x.mean(), y - y.mean()
        slope = (x @ y) / (x @ x)
        left = y - slope * x
        error = ((left @ left) / ((len(x) - 2) * (x @ x))).sqrt()
        found[last - 1] = slope > CERTAIN * error
    return found


def _late(step: Tensor, memorised: Tensor, right: Tensor) -> Bool[Tensor, " measurements"]:
    """Return where an answer is right for the third time in a row, late after it was memorised."""
    index = torch.arange(len(step), device=step.device)
    # The measurement after the last wrong one began the run; the first memorised one is known once it came.
    began = (torch.where(right, -1, index).cummax(0).values + 1).clamp(max=max(0, len(step) - 1))
    held = right & (index - began + 1 >= HELD)
    known = _so_far(memorised)
    first = step[memorised.int().argmax()] if len(step) else step.new_zeros(())
    return held & known & (step[began] >= LATE * first)


def _so_far(held: Bool[Tensor, " measurements"]) -> Bool[Tensor, " measurements"]:
    """Return where something held then or before."""
    return held.int().cummax(0).values.bool()


def _carried(latest: Tensor) -> Tensor:
    """Return the phases with those of none replaced by the one before."""
    index = torch.arange(len(latest), device=latest.device)
    since = torch.where(latest > NONE, index, 0).cummax(0).values
    return latest[since]
