"""Stored cases of MuGrokfast."""

from typing import Final

import numpy as np

from spec_tests.chapters.mugrokfast.calls import CONFIG, call
from spec_tests.port import Op
from spec_tests.vectors.source import Family

_STEP: Final = Family("MUGR", Op.MUGROKFAST_STEP)

STORED: Final = (
    _STEP.case(
        1, "OPT-9", "every part of the step; the vector is in its first update", CONFIG, call(7001, updates=(3, 0))
    ),
    _STEP.case(
        2,
        "OPT-9",
        "gradients orthogonal to their weights, the matrix in its first update, a square one",
        {**CONFIG, "perp_grad": True, "strength": 0.5, "alpha": 0.98, "average": 0.9, "factor": 0.25},
        call(7002, heads=1, dim=2, model=6, updates=(0, 4)),
    ),
    _STEP.case(
        3,
        "OPT-9",
        "a vector without a gradient: it stays, in moments too",
        {**CONFIG, "clip": 0.5, "qk_clip": 0.5, "momentum": 0.5, "beta1": 0.9, "beta2": 0.95, "eps": 1e-2},
        {**call(7003, updates=(2, 5)), "vector_gradient": np.zeros(3)},
    ),
    _STEP.case(
        101,
        "OPT-9",
        "no momentum, no decay, no clip, no average: what is left is the filter",
        {
            **CONFIG,
            "beta1": 0.0,
            "beta2": 0.0,
            "momentum": 0.0,
            "weight_decay": 0.0,
            "clip": 0.0,
            "qk_clip": 0.0,
            "average": 0.0,
            "learning_rate": 0.01,
            "muon_learning_rate": 0.01,
            "factor": 1.0,
        },
        call(7004, heads=5, dim=1, model=2, updates=(1, 1)),
    ),
    _STEP.case(
        102,
        "OPT-9",
        "rates of zero, a filter without memory that adds nothing",
        {**CONFIG, "learning_rate": 0.0, "muon_learning_rate": 0.0, "alpha": 0.0, "strength": 0.0, "factor": 0.0},
        call(7005, heads=1, dim=1, model=17, updates=(1, 2)),
    ),
)
