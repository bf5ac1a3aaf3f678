"""Subjects that are seeded and do not notice: what Seed Competition must fail."""

from collections.abc import Callable
from dataclasses import replace

import torch

from atlas_ref.models.atlas import ModelState
from preflight.controls.state import Misled, Resets, dropped, swapped
from preflight.memory_contents import empty_memory, random_memory
from preflight.subject import HEALTHY, Control


def random_seeds(seed: int) -> Callable[[ModelState], ModelState]:
    """Return a hand-over that puts random memories in the place of all seeds, as where seeding is never called."""
    generator = torch.Generator().manual_seed(seed)
    return lambda state: random_memory(state, generator)


class SeedIgnored(Misled):
    """A model that begins every call with its own initial memory."""

    def instead(self, state: ModelState, reset: Resets) -> tuple[ModelState, Resets]:
        """Return a state without what its memory held."""
        return empty_memory(state, self.initial_state(state.batch)), reset


SEED_CONTROLS = tuple(
    Control(subject, gate="seed-competition", also=("baton-pass", "memory-ablation"), overrides=())
    for subject in (
        replace(HEALTHY, name="seeds not applied", hand_over=random_seeds(1)),
        replace(HEALTHY, name="seeds of other rows", hand_over=swapped),
        replace(HEALTHY, name="seeds dropped", hand_over=dropped),
        replace(HEALTHY, name="seeds ignored by the model", model=SeedIgnored),
    )
)
