"""What a model is to the rest of the house: one protocol, so that one loop, one checkpoint and one monitor serve all.

    logits, state', telemetry = model(tokens, state, reset, outer_step)

A `Model` owns parameters and nothing else: state is a tree of tensors with the batch as first axis (`memory.state`)
that goes in and comes out. A `Family` says what is known of all models of one kind of configuration before any is
built: how one is made, what tensors it has, what it costs, and what is worth watching in what it returns. `registry`
knows the families; nothing outside `models` names one.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from atlas_ref.blocks.timeline import Marks
from atlas_ref.config.run import AnyModelConfig
from atlas_ref.models.tensors import TensorInfo

Measurements = dict[str, float]
"""What was measured of one layer, by name."""


class Sheet(NamedTuple):
    """Numbers of every layer on the device, layer by layer, and their names: what measurements are read from."""

    names: tuple[tuple[str, ...], ...]
    values: Tensor


@runtime_checkable
class Telemetry(Protocol):
    """A named tuple of what a layer tells of one call: numbers as tensors, or None.

    How each field is merged from the parts of a batch is said in `processes.merging`.
    """

    def _asdict(self) -> dict[str, Any]: ...


@runtime_checkable
class Output(Protocol):
    """What a call returns: a named tuple, which FSDP2 can look into."""

    @property
    def logits(self) -> Float[Tensor, "batch time vocab"]:
        """Of the next token."""

    @property
    def state(self) -> Any:
        """The state after the call, a `memory.state.StateTree` as `Model.initial_state` returns it."""

    @property
    def telemetry(self) -> tuple[Telemetry, ...]:
        """One entry a layer."""

    @property
    def indecision(self) -> Float[Tensor, ""] | None:
        """mean(1 - |2 g - 1|) over all raw gates, with its graph, where it was asked for and there are gates."""

    @property
    def _replace(self) -> Callable[..., Any]: ...


class Model(nn.Module):
    """A function of parameters and arguments; the same configuration and seed give the same parameters."""

    config: AnyModelConfig

    def initial_state(self, batch: int) -> Any:
        """Return the state of `batch` rows before their first token, a `memory.state.StateTree`."""
        raise NotImplementedError

    def forward(
        self,
        tokens: Int[Tensor, "batch time"],
        state: Any,
        reset: Bool[Tensor, "batch time"] | Marks | None,
        outer_step: int | None = None,
        penalised: bool = False,
        measured: bool = True,
    ) -> Output:
        """Return logits, state and telemetry; `reset` marks the tokens that begin a document, or a context and a memory
        apart (`blocks.timeline`).

        A sequence in one call or in any split gives the same logits, and a reset at a token equals a fresh start there.
        `outer_step` is the number of optimiser steps made so far, which schedules depend on; None is the end of all
        schedules. `penalised` asks for the indecision of the gates; without `measured` there is no telemetry, which
        decoding does not read.
        """
        raise NotImplementedError

    def room(self, state: Any) -> int | None:
        """Return how many tokens each row may still read from a state on; None: as many as there are."""
        del state
        return None

    def standing(self, state: Any) -> tuple[Int[Tensor, " batch"], int] | None:
        """Return how many tokens of its document the memory of each row has read, and the length of the chunks, or of
        the shards, by which a call of several tokens is laid out; None where there is more to know before one can be
        made without a look at them.
        """
        del state
        return None

    def unrecorded(self) -> str:
        """Return why no step of such a model is recorded on a GPU (`training.graphed`), where `standing` is None."""
        return "steps of this family of models have no recorded form"

    def schedules(self, outer_step: int | None) -> Hashable:
        """Return what the schedules make of a step: calls at steps of which they make the same are the same."""
        return outer_step

    def runs_by(self, device: torch.device) -> str:
        """Return what a run says of the fast form that computes on a device, nothing where it is the reference."""
        del device
        return ""

    def parts(self) -> list[nn.Module]:
        """Return the modules that are called one after another: several processes may hold each in shards of its own,
        and all that is in none of them together."""
        raise NotImplementedError


def table_of_tokens(parameters: Mapping[str, Tensor], config: AnyModelConfig) -> Float[Tensor, "vocab dim"]:
    """Return the table that most families have under this name."""
    del config
    return parameters["embedding.weight"]


@dataclass(frozen=True)
class Family:
    """What is known of every model of a kind from its configuration alone, and how one is made.

    build: the model of a configuration and a seed.       tensors: every tensor it has.
    count_parameters: how many numbers these hold.        training_flops: operations of a step for each token.
    measure: what is known of each layer after a call, plain numbers by name (`watching.monitor`).
    embedding: what a model has for each token, from its parameters by name.
    gather, read: `measure` in two halves, on the device and on the host, where it has them: the first may be recorded.

    Each is given a configuration of the class that `registry` has the family under.
    """

    name: str
    build: Callable[[Any, int], Model]
    tensors: Callable[[Any], tuple[TensorInfo, ...]]
    count_parameters: Callable[[Any], int]
    training_flops: Callable[[Any], int]
    measure: Callable[[Any, Any], tuple[Measurements, ...]]
    embedding: Callable[[Mapping[str, Tensor], Any], Float[Tensor, "vocab dim"]] = table_of_tokens
    gather: Callable[[Any, Any], Sheet] | None = None
    read: Callable[[Sheet, Any], tuple[Measurements, ...]] | None = None
