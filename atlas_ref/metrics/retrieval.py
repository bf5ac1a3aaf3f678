"""How much of what was stored is found again: answers that are right as a whole, and what storage adds to that.

    accuracy = right / asked,          gain = accuracy - accuracy without storage, of the same answers

Rows are what was drawn independently: the answers of one were stored in one memory. So the 95% interval of a mean over
answers is that of a ratio of sums over R rows, with n_r answers and sum s_r in row r and n answers in all:

    mean +- 1.96 sqrt(R / (R - 1) sum_r (s_r - mean n_r)^2) / n

For rows of equal n_r this is the interval of the mean of the rows' means. Of a gain it is that of the differences,
answer by answer, which is narrower than two intervals apart.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

NORMAL_95 = 1.96


class Interval(NamedTuple):
    """A mean over answers, and the ends of its 95% interval; NaN where there is none."""

    mean: Float[Tensor, ""]
    low: Float[Tensor, ""]
    high: Float[Tensor, ""]


class Gain(NamedTuple):
    """Accuracy with storage and without, and the difference."""

    accuracy: Interval
    without: Interval
    gain: Interval


class Answered(NamedTuple):
    """Of each answer of each row, by its number: whether it was asked for, right as a whole, and is a number."""

    asked: Bool[Tensor, "batch answers"]
    right: Bool[Tensor, "batch answers"]
    number: Bool[Tensor, "batch answers"]


def answered(
    said: Int[Tensor, "batch time"],
    targets: Int[Tensor, "batch time"],
    answer: Int[Tensor, "batch time"],
    numbers: range,
) -> Answered:
    """Return what became of each masked answer; `answer` has the number of the one that a target is of, or 0.

    An answer is right where what is said is the target at all of its places, and a number where its targets are.
    """
    count = int(answer.max()) if answer.numel() else 0
    shape = len(answer), count + 1

    def any_of(marks: Tensor) -> Tensor:
        """Return of each answer whether any of its places is marked."""
        return (
            torch.zeros(shape, dtype=torch.long, device=answer.device).scatter_add(1, answer, marks.long())[:, 1:] > 0
        )

    asked = any_of(answer > 0)
    is_number = (targets >= numbers.start) & (targets < numbers.stop)
    return Answered(asked, asked & ~any_of((answer > 0) & (said != targets)), any_of(is_number & (answer > 0)))


def interval(values: Float[Tensor, "batch answers"], asked: Bool[Tensor, "batch answers"]) -> Interval:
    """Return the mean over what is asked, with its interval (module docstring); in float64.

    Of one row the interval is NaN. What is not asked is not looked at.
    """
    seen = torch.where(asked, values, 0.0).double()
    counts, sums = asked.double().sum(1), seen.sum(1)
    total, rows = counts.sum(), len(values)
    mean = sums.sum() / total
    spread = (sums - mean * counts).square().sum() * rows / (rows - 1) if rows > 1 else sums.new_tensor(math.nan)
    half = NORMAL_95 * spread.sqrt() / total
    return Interval(mean, mean - half, mean + half)


def retrieval_gain(
    right: Float[Tensor, "batch answers"],
    without: Float[Tensor, "batch answers"],
    asked: Bool[Tensor, "batch answers"],
) -> Gain:
    """Return the accuracy of the same answers with storage and without, and what storage adds (module docstring).

    `right` and `without` are 1 where an answer is right, and 0 where it is wrong.
    """
    return Gain(interval(right, asked), interval(without, asked), interval(right.double() - without, asked))
