"""Subjects that are seeded and do not notice: what Seed Competition must fail."""

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from atlas_ref.blocks.timeline import Marks
from atlas_ref.models.atlas import AtlasModel, ModelOutput, ModelState
from preflight.controls.state import dropped, swapped
from preflight.memory_contents import empty_memory, random_memory
from preflight.subject import HEALTHY, Control


def random_seeds(seed: int) -> Callable[[ModelState], ModelState]:
    """Return a hand-over that puts random memories in the place of all seeds, as where seeding is never called."""
    generator = torch.Generator().manual_seed(seed)
    return lambda state: random_memory(state, generator)


class SeedIgnored(AtlasModel):
    """A model that begins every call with its own initial memory."""

    def forward(
        self,
        tokens: Int[Tensor, "batch time"],
        state: ModelState,
        reset: Bool[Tensor, "batch time"] | Marks | None,
        outer_step: int | None = None,
        penalised: bool = False,
        measured: bool = True,
    ) -> ModelOutput:
        """Run the model without what its memory held."""
        return super().forward(
            tokens, empty_memory(state, self.initial_state(len(tokens))), reset, outer_step, penalised, measured
        )


SEED_CONTROLS = tuple(
    Control(subject, gate="seed-competition", also=("baton-pass", "memory-ablation"), overrides=())
    for subject in (
        replace(HEALTHY, name="seeds not applied", hand_over=random_seeds(1)),
        replace(HEALTHY, name="seeds of other rows", hand_over=swapped),
        replace(HEALTHY, name="seeds dropped", hand_over=dropped),
        replace(HEALTHY, name="seeds ignored by the model", model=SeedIgnored),
    )
)
