"""Stored cases of training steps."""

from typing import Final

from spec_tests.chapters.step.calls import CONFIG, call
from spec_tests.port import Op
from spec_tests.vectors.source import Family

_STEP: Final = Family("TRAIN", Op.TRAIN_STEPS)
_ALL: Final = "STEP-1 STEP-2 STEP-3 STEP-4 STEP-5 STEP-6 STEP-7"

STORED: Final = (
    _STEP.case(
        1,
        _ALL,
        "four steps of descent without a bound, from the first step of a run on",
        {**CONFIG, "optimizer": "sgd", "clip": 0.0, "step0": 0, "warmup_steps": 0, "weight_decay": 0.1},
        call(8101),
    ),
    _STEP.case(2, _ALL, "four steps of AdamW in the middle of a run, in its warm-up and behind it", CONFIG, call(8111)),
    _STEP.case(
        3,
        _ALL,
        "four steps of Muon, two heads, every batch from the state that came in",
        {**CONFIG, "optimizer": "muon", "carry_state": False, "min_ratio": 0.0},
        call(8121, heads=2),
    ),
    _STEP.case(
        4,
        _ALL,
        "four steps of MuGrokfast, constants for reads",
        {**CONFIG, "optimizer": "mugrokfast", "inner_grad": "detached", "beta2": 0.95, "total_steps": 6},
        call(8131),
    ),
)
