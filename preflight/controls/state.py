"""Subjects that lose, swap or leak the state between calls: what Baton Pass must fail."""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from atlas_ref.blocks.timeline import Marks, marks_of
from atlas_ref.models.atlas import AtlasModel, ModelOutput, ModelState
from preflight.subject import HEALTHY, Control

Resets = Bool[Tensor, "batch time"] | Marks | None
"""Where documents begin, as a model is given it."""


def dropped(state: ModelState) -> ModelState:
    """Hand over nothing: every row begins again, with an empty memory."""
    return state.map(torch.zeros_like)


def swapped(state: ModelState) -> ModelState:
    """Hand every row the state of the row before it."""
    return state.map(lambda tensor: tensor.roll(1, 0))


def averaged(state: ModelState) -> ModelState:
    """Hand every row the mean of all rows."""
    return state.map(
        lambda tensor: tensor.mean(0, keepdim=True).expand_as(tensor) if tensor.is_floating_point() else tensor
    )


def without_momentum(state: ModelState) -> ModelState:
    """Hand over the memory, but not the momentum with which it is being written."""
    tensors = state.to_tensors()
    return state.from_tensors({n: torch.zeros_like(t) if ".momentum." in n else t for n, t in tensors.items()})


def in_bf16(state: ModelState) -> ModelState:
    """Hand over the state in bfloat16."""
    return state.map(lambda tensor: tensor.bfloat16().to(tensor.dtype) if tensor.is_floating_point() else tensor)


class Misled(AtlasModel):
    """A model that runs on another state, or on other resets, than it is given."""

    def instead(self, state: ModelState, reset: Resets) -> tuple[ModelState, Resets]:
        """Return what it runs on."""
        raise NotImplementedError

    def forward(
        self,
        tokens: Int[Tensor, "batch time"],
        state: ModelState,
        reset: Resets,
        outer_step: int | None = None,
        penalised: bool = False,
        measured: bool = True,
    ) -> ModelOutput:
        """Run the model on that."""
        state, reset = self.instead(state, reset)
        return super().forward(tokens, state, reset, outer_step, penalised, measured)


class ResetIgnored(Misled):
    """A model that carries its state from one document into the next."""

    def instead(self, state: ModelState, reset: Resets) -> tuple[ModelState, Resets]:
        """Return no resets."""
        del reset
        return state, None


class ResetOfAllRows(Misled):
    """A model in which one row's new document begins a new one in every row."""

    def instead(self, state: ModelState, reset: Resets) -> tuple[ModelState, Resets]:
        """Return the resets of any row for all rows."""
        marks = (None if mark is None else mark.any(0, keepdim=True).expand_as(mark) for mark in marks_of(reset))
        return state, Marks(*marks)


class FutureLeak(AtlasModel):
    """A model that sees the next token of its own call, a little."""

    def forward(
        self,
        tokens: Int[Tensor, "batch time"],
        state: ModelState,
        reset: Resets,
        outer_step: int | None = None,
        penalised: bool = False,
        measured: bool = True,
    ) -> ModelOutput:
        """Run the model and favour the token that comes next."""
        output = super().forward(tokens, state, reset, outer_step, penalised, measured)
        following: Float[Tensor, "batch time vocab"] = one_hot(tokens.roll(-1, 1), self.config.vocab_size).to(
            output.logits.dtype
        )
        following[:, -1] = 0.0
        return output._replace(logits=output.logits + 0.1 * following)


STATE_CONTROLS = (
    Control(
        replace(HEALTHY, name="state dropped at boundaries", hand_over=dropped),
        gate="baton-pass",
        also=("seed-competition", "memory-ablation"),
        overrides=(),
    ),
    Control(
        replace(HEALTHY, name="rows swapped at boundaries", hand_over=swapped),
        gate="baton-pass",
        also=("seed-competition", "memory-ablation"),
        overrides=(),
    ),
    Control(
        replace(HEALTHY, name="momentum dropped at boundaries", hand_over=without_momentum),
        gate="baton-pass",
        also=(),
        overrides=(),
    ),
    Control(
        replace(HEALTHY, name="state handed over in bf16", hand_over=in_bf16),
        gate="baton-pass",
        also=(),
        overrides=(),
    ),
    Control(
        replace(HEALTHY, name="one state for all rows", hand_over=averaged),
        gate="baton-pass",
        also=(),
        overrides=(),
    ),
    Control(
        replace(HEALTHY, name="reset of one row resets all", model=ResetOfAllRows),
        gate="baton-pass",
        also=(),
        overrides=(),
    ),
    Control(replace(HEALTHY, name="reset ignored", model=ResetIgnored), gate="baton-pass", also=(), overrides=()),
    Control(replace(HEALTHY, name="future leak", model=FutureLeak), gate="baton-pass", also=(), overrides=()),
)
