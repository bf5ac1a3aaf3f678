"""Shapes of a training are checked in its first steps; the many that follow have the same."""

from collections.abc import Callable
from typing import Any, Final

import jaxtyping

from atlas_ref.training.step import StepResult, train_step

CHECKED: Final = 2
"""Steps in which every shape is checked, which is a third of what a step of a small model costs."""


def sparing(step_of: Callable[..., StepResult] = train_step) -> Callable[..., StepResult]:
    """Return `train_step` that checks no shapes from step `CHECKED` on."""

    def step_once(model: Any, optimiser: Any, batch: Any, state: Any, step: int, *others: Any) -> StepResult:
        jaxtyping.config.update("jaxtyping_disable", step >= CHECKED)
        try:
            return step_of(model, optimiser, batch, state, step, *others)
        finally:
            jaxtyping.config.update("jaxtyping_disable", False)

    return step_once
