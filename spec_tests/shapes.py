"""Shapes of a training are checked in its first steps; the many that follow have the same."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import jaxtyping

from atlas_ref.training.step import StepResult, train_step

CHECKED: Final = 2
"""Steps in which every shape is checked, which is a third of what a step of a small model costs."""


def sparing(step_of: Callable[..., StepResult] = train_step) -> Callable[..., StepResult]:
    """Return `train_step` that checks no shapes from step `CHECKED` on."""

    def step_once(model: Any, optimiser: Any, batch: Any, state: Any, step: int, *others: Any) -> StepResult:
        with unchecked(step >= CHECKED):
            return step_of(model, optimiser, batch, state, step, *others)

    return step_once


@contextmanager
def unchecked(really: bool = True) -> Iterator[None]:
    """Check no shapes inside, where `really` so."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", before or really)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)
