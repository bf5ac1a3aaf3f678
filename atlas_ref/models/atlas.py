"""The language model: embedding, blocks (with an optional feed-forward after each), norm, tied head.

    logits, state', telemetry = model(tokens, state, reset)

State is a value: the model holds parameters only, so a call changes nothing but what it returns. Feeding a sequence in
one call or in any split gives the same logits; a reset at a token equals a fresh start at that token.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from atlas_ref.blocks.block import Block, BlockOutput, BlockState
from atlas_ref.blocks.dropout import drops_of
from atlas_ref.blocks.fast_memory import memory_rule
from atlas_ref.blocks.feed_forward import FeedForward
from atlas_ref.blocks.passes import left, normed
from atlas_ref.blocks.phase import Phase, phase_at
from atlas_ref.blocks.registry import build_block
from atlas_ref.blocks.telemetry import LayerTelemetry
from atlas_ref.blocks.timeline import Marks, Timeline, make_timeline, marks_of
from atlas_ref.config.model import ModelConfig
from atlas_ref.functional.embedding import embed
from atlas_ref.memory.delta import segment_of
from atlas_ref.memory.kernels.choice import chosen
from atlas_ref.memory.state import StateTree
from atlas_ref.models.family import Model


@dataclass(frozen=True)
class ModelState(StateTree):
    """The state of every layer; row b belongs to stream b alone."""

    layers: tuple[BlockState, ...]


class ModelOutput(NamedTuple):
    """What a call of an ATLAS model returns (`family.Output`)."""

    logits: Float[Tensor, "batch time vocab"]
    state: ModelState
    telemetry: tuple[LayerTelemetry, ...]
    indecision: Float[Tensor, ""] | None = None


class Layer(nn.Module):
    """One block and, where the configuration names it, a feed-forward.

    The block lies under its own name, so that the parameters of blocks of two kinds are never taken for each other.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.kind = config.block
        self.add_module(self.kind, build_block(config))
        self.feed_forward = FeedForward(config) if config.feed_forward == "swiglu" else nn.Identity()

    @property
    def block(self) -> Block:
        """The block."""
        found = getattr(self, self.kind)
        assert isinstance(found, Block)
        return found

    def forward(
        self,
        x: Float[Tensor, "batch time model"],
        state: BlockState,
        timeline: Timeline,
        phase: Phase,
        penalised: bool,
        measured: bool,
    ) -> BlockOutput:
        """Return what the block returns, its hidden states behind the feed-forward."""
        output: BlockOutput = self.block(x, state, timeline, phase, penalised, measured)
        if not isinstance(self.feed_forward, FeedForward):
            return output
        return output._replace(hidden=self.feed_forward(output.hidden, phase.drops.feed_forward))


class AtlasModel(Model):
    """An ATLAS-style language model; the same seed gives the same parameters."""

    config: ModelConfig

    def __init__(self, config: ModelConfig, seed: int) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.n_layers))
        self.norm = nn.RMSNorm(config.d_model, config.norm_eps)
        self._initialise(torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        """Draw every weight from `generator`; biases and norms keep the start that their module gave them."""
        std = self.config.init_std
        self.embedding.weight.normal_(std=std, generator=generator)
        for layer in self._layers():
            layer.block.initialise(generator, std, residual_std=std / math.sqrt(2 * self.config.n_layers))
            if isinstance(layer.feed_forward, FeedForward):
                layer.feed_forward.up.weight.normal_(std=std, generator=generator)
                layer.feed_forward.output.weight.normal_(
                    std=std / math.sqrt(2 * self.config.n_layers), generator=generator
                )

    def initial_state(self, batch: int) -> ModelState:
        """Return the state of `batch` rows before their first token."""
        return ModelState(tuple(layer.block.initial_state(batch) for layer in self._layers()))

    def forward(
        self,
        tokens: Int[Tensor, "batch time"],
        state: ModelState,
        reset: Bool[Tensor, "batch time"] | Marks | None,
        outer_step: int | None = None,
        penalised: bool = False,
        measured: bool = True,
    ) -> ModelOutput:
        """Return logits, state and telemetry; `reset` marks the tokens that begin a document.

        `Marks` marks those that begin a context and those that begin a memory apart (`blocks.timeline`), and may have
        the numbers that dropout draws from; without these nothing is left out.

        `outer_step` is the number of optimiser steps made so far, which schedules depend on (`blocks.phase`); None is
        the end of all schedules. `penalised` asks for the indecision of the gates, if there are any; without
        `measured` there is no telemetry, which decoding does not read.
        """
        phase = phase_at(self.config, outer_step)
        # Every layer has seen the same tokens, so one timeline serves all.
        before = state.layers[0].memory
        positions, time = (before.context, before.memory.position), tokens.shape[1]
        timeline = make_timeline(self.config.memory, *positions, reset, time, self.config.segment)
        drops = drops_of(self.config.dropout, marks_of(reset).draws, self.config.n_layers)
        x = left(embed(self.embedding.weight, tokens), drops.embedding, self.config.kernels)
        states, telemetry, undecided = [], [], []
        for layer, entered, left_out in zip(self._layers(), state.layers, drops.layers, strict=True):
            of_layer = phase._replace(drops=left_out)
            x, after, summary, indecision = layer(x, entered, timeline, of_layer, penalised, measured)
            states.append(after)
            telemetry.extend([summary] if summary is not None else [])
            undecided.extend([indecision] if indecision is not None else [])
        _, told = normed(self.norm, x, self.config.kernels)
        logits = F.linear(told, self.embedding.weight)
        # Every layer has as many gates, so the mean of their means is the mean of all.
        mean = torch.stack(undecided).mean() if undecided else None
        return ModelOutput(logits, ModelState(tuple(states)), tuple(telemetry), mean)

    def standing(self, state: ModelState) -> tuple[Int[Tensor, " batch"], int] | None:
        """Return the position of the memory and the least length that is whole chunks and shards of all memories, and
        whole segments of those that are not laid out by chunks; None in MAC.
        """
        if self.unrecorded():
            return None
        memory, hierarchy = self.config.memory, self.config.memory.hierarchy
        lengths = [memory.shards.length or memory.chunk]
        if memory_rule(memory).at_retained:
            lengths.append(segment_of(memory.shards.length))
        if memory.kind == "hierarchical":
            lengths += [*hierarchy.local_chunks, *filter(None, hierarchy.local_shards)]
        return state.layers[0].memory.memory.position, math.lcm(*lengths)

    def unrecorded(self) -> str:
        """Return what the host has to look up, or to wait for, in a step; nothing where a recording knows enough."""
        memory = self.config.memory
        asked = {
            "the host looks up where segments of model.block = 'mac' begin": self.config.segment > 0,
            "the host may have to wait for the solver of model.memory.algorithm = 'ridge'": memory.algorithm == "ridge",
        }
        return next((why for why, does in asked.items() if does), "")

    def schedules(self, outer_step: int | None) -> Phase:
        """Return the phase of all schedules at a step (`blocks.phase`)."""
        return phase_at(self.config, outer_step)

    def runs_by(self, device: torch.device) -> str:
        """Return which kernels run, what runs by the reference beside them, and where there could be some, how to have
        them."""
        form = chosen(self.config.kernels, device)
        if form == "reference" and self.config.kernels == "auto" and device.type == "cpu":
            return ", kernels: reference (`atlas kernels build` compiles faster ones)"
        if form == "reference":
            return ", kernels: reference"
        known = self._layers()[0].block.memory.by_kernels(device)
        if all(known):
            return f", kernels: {form}"
        if any(known):
            return f", kernels: {form} of {sum(known)} of {len(known)} memories, the others by the reference"
        return f", kernels: {form} in front of the memory, which they do not know: it runs by the reference"

    def parts(self) -> list[nn.Module]:
        """Return the layers."""
        return list(self.layers)

    def _layers(self) -> list[Layer]:
        return [layer for layer in self.layers if isinstance(layer, Layer)]
