"""Stored cases of StableMax."""

from typing import Final

import numpy as np

from spec_tests.drawing.inputs import normal
from spec_tests.port import Op
from spec_tests.vectors.source import Family

_STAB: Final = Family("STAB", Op.STABLEMAX)
_LOSS: Final = Family("SLOSS", Op.STABLEMAX_LOSS)
_LABELS: Final = np.array([[2, -100, 0], [1, 1, 3], [-100, -100, -100]])

STORED: Final = (
    _STAB.case(1, "STAB-1 STAB-5", "logits of both signs, rows by themselves", {}, {"x": 3.0 * normal(900, 4, 6)}),
    _STAB.case(
        2,
        "STAB-2",
        "a logit of -1e6 beside others: no floor under a probability",
        {},
        {"x": np.array([[0.0, -1e6, 1.0], [-1e6, -2e6, -3e6]])},
    ),
    _STAB.case(
        3,
        "STAB-3",
        "logits of 1e30 and -1e30: no exponential, no overflow of a sum",
        {},
        {"x": np.array([[1e30, -1e30, 1.0, 1e30], [-1e30, -1e30, -2.0, 0.5]])},
    ),
    _STAB.case(
        4,
        "STAB-4",
        "gradients in both branches, and at 0 and 1 exactly",
        {},
        {"x": np.array([[0.0, 1.0, -1.0, 2.5], [-0.5, -3.0, 0.0, 0.25]])},
        {"probabilities": normal(901, 2, 4)},
    ),
    _STAB.case(
        5,
        "STAB-2",
        "a thousand logits, half of them small: every probability is far below what a floor would leave it",
        {},
        {"x": np.where(np.arange(1024) % 2, -9.0, 0.25 * np.abs(normal(902, 1, 1024)))},
    ),
    _STAB.case(101, "STAB-1 STAB-5", "six rows of twenty logits", {}, {"x": 3.0 * normal(1501, 6, 20)}),
    _LOSS.case(
        1,
        "STAB-6 STAB-7",
        "labels left out in one row, all of another",
        {},
        {"logits": 3.0 * normal(903, 3, 3, 4), "labels": _LABELS},
        {"log_probabilities": normal(904, 3, 3, 4), "losses": normal(905, 3)},
    ),
    _LOSS.case(
        2,
        "STAB-6",
        "a logit of -1e30, an almost certain one, and gradients at 0 and 1 exactly",
        {},
        {
            "logits": np.array([[[0.0, 1.0, -1e30]], [[1e6, 0.0, -1.0]], [[1.0, 0.0, -2.0]]]),
            "labels": np.array([[2], [0], [1]]),
        },
        {"losses": np.array([1.0, -2.0, 0.5])},
    ),
    _LOSS.case(
        101,
        "STAB-6 STAB-7",
        "a row of seventy places and two logits",
        {},
        {"logits": normal(906, 1, 70, 2), "labels": np.where(np.arange(70) % 3 == 0, -100, np.arange(70) % 2)[None]},
    ),
    _LOSS.case(
        102,
        "STAB-6 STAB-7",
        "six rows of one place",
        {},
        {"logits": normal(907, 6, 1, 5), "labels": np.array([[0], [4], [-100], [2], [1], [3]])},
    ),
)
