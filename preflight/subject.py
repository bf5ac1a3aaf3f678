"""What a gate examines, and how much it may spend.

A gate never builds a model, an optimiser or a hand-over of state itself: it asks its subject. A negative control is a
subject in which one of the three is broken; the gate cannot tell it from a healthy one but by measuring.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from atlas_ref.config import OptimConfig
from atlas_ref.memory.state import StateTree
from atlas_ref.models.family import Model
from atlas_ref.models.registry import build_model
from atlas_ref.training.optimiser import OuterOptimiser, build_optimiser

MakeModel = Callable[[Any, int], Model]
"""Of the section of a model and a seed."""
HandOver = Callable[[Any], Any]
"""From the state that one call left to the one that the next call gets, of the same model."""


@dataclass(frozen=True)
class Budget:
    """How much a gate may spend; device and dtype come from the configuration.

    probe_steps: optimiser steps of each probe training.
    batches: independent measurements of a statistic, which decide how narrow its interval is.
    sequence_length, batch_size: tokens and rows of each batch.
    """

    probe_steps: int
    batches: int
    sequence_length: int
    batch_size: int


@dataclass(frozen=True)
class Subject:
    """How models, optimisers and the state between two calls come about."""

    name: str
    model: MakeModel
    optimiser: Callable[[nn.Module, OptimConfig], OuterOptimiser]
    hand_over: HandOver


def identity(state: StateTree) -> StateTree:
    """Return the state: what one call leaves is what the next one gets."""
    return state


HEALTHY = Subject("healthy", build_model, build_optimiser, identity)


@dataclass(frozen=True)
class Control:
    """A broken subject, the gate that must FAIL it, and the other gates that were seen to fail it too.

    overrides: what the configuration must say for the fault to exist, such as a gate that has a gain.
    """

    subject: Subject
    gate: str
    also: tuple[str, ...]
    overrides: tuple[str, ...]
