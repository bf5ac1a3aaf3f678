"""The family `cognate`: a backbone with a memory, a recursion that refines answers, and a head that says when to stop.

    features = backbone(E[tokens] + P[position])                          `blocks.backbone`
    y_0, z_0;  y_n, z_n = iteration of (features, y_{n-1}, z_{n-1})       `blocks.recursion`
    logits_n = E y_n,  halting_n = w . z_n + b                            n = 1 .. N

The logits of a call are those of the last answer; what is learned from the others is in `recursion` of the output
(`training.supervision`). State is a value: positions, caches and the memory go in with the tokens and come out.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from atlas_ref.blocks.backbone import BackboneLayer
from atlas_ref.blocks.backbone_memory import BackboneMemory, BackboneState, Remembered, gate_entropy
from atlas_ref.blocks.polarisation import indecision
from atlas_ref.blocks.recursion import Recursion, SeparateNets, SharedNet
from atlas_ref.blocks.timeline import Marks, marks_of
from atlas_ref.blocks.windowed_attention import AttentionCache, Places
from atlas_ref.config.cognate import CognateConfig
from atlas_ref.errors import UserError
from atlas_ref.functional.embedding import embed
from atlas_ref.functional.looking import may_look
from atlas_ref.memory.plan import token_positions
from atlas_ref.memory.state import StateTree
from atlas_ref.models.answers import Answers
from atlas_ref.models.cognate_telemetry import CognateTelemetry, tell
from atlas_ref.models.family import Model

HALTING_BIAS = -2.0
"""At the start an answer is thought to be wrong, so that all iterations are made (2510.04871: -5 without a sigmoid)."""


@dataclass(frozen=True)
class CognateState(StateTree):
    """Tokens of its context that each row has read, tokens that its memory has, the caches of every attention, and
    that memory."""

    position: Int[Tensor, " batch"]
    remembered: Int[Tensor, " batch"]
    layers: tuple[AttentionCache, ...]
    ltm: tuple[BackboneState, ...]
    recursion: tuple[AttentionCache, ...]


class CognateOutput(NamedTuple):
    """What a call returns (`family.Output`)."""

    logits: Float[Tensor, "batch time vocab"]
    state: CognateState
    telemetry: tuple[CognateTelemetry, ...]
    indecision: Float[Tensor, ""] | None
    recursion: Answers


class CognateModel(Model):
    """A language model of the family; the same seed gives the same parameters."""

    config: CognateConfig

    def __init__(self, config: CognateConfig, seed: int) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.position = nn.Embedding(config.positions, config.d_model)
        self.layers = nn.ModuleList(BackboneLayer(config) for _ in range(config.n_layers))
        if config.n_layers:
            self.norm = nn.RMSNorm(config.d_model, config.norm_eps)
        if config.ltm.kind != "none":
            self.ltm = BackboneMemory(config)
        self.recursion: Recursion = SeparateNets(config) if config.recursion.nets == "separate" else SharedNet(config)
        if config.halting.kind != "none":
            self.halting_head = nn.Linear(config.d_model, 1)
        self._initialise(torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        """Draw every matrix from `generator`; what adds to the residual stream of the backbone starts smaller."""
        std = self.config.init_std
        for name, parameter in self.named_parameters():
            if parameter.ndim < 2:
                continue
            residual = name.startswith("layers.") and name.endswith("output.weight")
            scale = math.sqrt(2 * self.config.n_layers) if residual else 1.0
            parameter.normal_(std=std / scale, generator=generator)
        for module in self.modules():
            if isinstance(module, nn.Linear) and module.bias is not None:
                module.bias.zero_()
        if self.config.halting.kind != "none":
            self.halting_head.weight.zero_()
            self.halting_head.bias.fill_(HALTING_BIAS)

    def initial_state(self, batch: int) -> CognateState:
        """Return the state of `batch` rows before their first token."""
        none = torch.zeros(batch, dtype=torch.long, device=self.embedding.weight.device)
        return CognateState(
            position=none,
            remembered=none,
            layers=tuple(layer.attention.initial_cache(batch) for layer in self._layers()),
            ltm=(self.ltm.initial_state(batch),) if self.config.ltm.kind != "none" else (),
            recursion=self.recursion.initial_caches(batch),
        )

    def forward(
        self,
        tokens: Int[Tensor, "batch time"],
        state: CognateState,
        reset: Bool[Tensor, "batch time"] | Marks | None,
        outer_step: int | None = None,
        penalised: bool = False,
        measured: bool = True,
    ) -> CognateOutput:
        """Return logits, state and telemetry, and all answers; nothing here depends on `outer_step`.

        Raises UserError for a document that is longer than the learned positions.
        """
        del outer_step
        places = self.places(tokens, state, reset)
        features, layers, remembered = self.features(tokens, state, places)
        hidden, latents, caches = self.answers(features, state.recursion, places)
        after = CognateState(
            position=places.seen,
            remembered=places.memory[:, -1] + 1 if tokens.shape[1] else state.remembered,
            layers=layers,
            ltm=() if remembered is None else (remembered.state,),
            recursion=caches,
        )
        halting = torch.stack([self.halting(z) for z in latents]) if self.config.halting.kind != "none" else None
        entropy = None if remembered is None else self.config.ltm.entropy * gate_entropy(remembered.logits)
        weights = self.config.recursion.weights
        found = Answers(hidden, self.embedding.weight, weights, halting, self.config.halting, entropy)
        return CognateOutput(
            logits=F.linear(hidden[-1], self.embedding.weight),
            state=after,
            telemetry=(tell(found, remembered, self.config.ltm.surprise),) if measured else (),
            indecision=indecision(remembered.gate) if penalised and remembered is not None else None,
            recursion=found,
        )

    def room(self, state: CognateState) -> int:
        """Return how many tokens the row that has read most may still read."""
        return self.config.positions - int(state.position.max())

    def places(self, tokens: Tensor, state: CognateState, reset: Tensor | Marks | None) -> Places:
        """Return where the tokens of a call stand; raise UserError beyond the learned positions."""
        marks, time = marks_of(reset), tokens.shape[1]
        position = token_positions(state.position, marks.context, time)
        last = int(position.max()) if position.numel() and may_look() else 0
        if last >= self.config.positions:
            raise UserError(
                f"a document has more than {self.config.positions:,} tokens, and model.positions is no more; give "
                "fewer, or train with more positions."
            )
        seen = position[:, -1] + 1 if time else state.position
        return Places(position, seen, token_positions(state.remembered, marks.memory, time))

    def features(
        self, tokens: Tensor, state: CognateState, places: Places
    ) -> tuple[Float[Tensor, "batch time model"], tuple[AttentionCache, ...], Remembered | None]:
        """Return what the backbone makes of the tokens, its caches after them, and what the memory did."""
        x: Tensor = embed(self.embedding.weight, tokens) + embed(self.position.weight, places.position)
        caches = []
        for layer, cache in zip(self._layers(), state.layers, strict=True):
            x, after = layer(x, cache, places)
            caches.append(after)
        x = self.norm(x) if self.config.n_layers else x
        remembered: Remembered | None = None
        if self.config.ltm.kind != "none":
            remembered = self.ltm(x, state.ltm[0], places)
            x = remembered.features
        return x, tuple(caches), remembered

    def answers(
        self, features: Float[Tensor, "batch time model"], caches: tuple[AttentionCache, ...], places: Places
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], tuple[AttentionCache, ...]]:
        """Return y_0 .. y_N, z_1 .. z_N and the caches after the call.

        Where iterations are cut, each gets the answer and the latent of the one before without their history.
        """
        settings = self.config.recursion
        y, z = self.recursion.begin(features)
        answers: list[Tensor] = [y]
        latents: list[Tensor] = []
        after: list[AttentionCache] = []
        for number in range(settings.iterations):
            if number and settings.detach:
                y, z = y.detach(), z.detach()
            known = features.detach() if number and settings.features_grad == "first" else features
            y, z, new = self.recursion.iterate(number, known, y, z, caches, places)
            answers.append(y)
            latents.append(z)
            after.extend(new)
        return tuple(answers), tuple(latents), tuple(after)

    def halting(self, latent: Float[Tensor, "batch time model"]) -> Float[Tensor, "batch time"]:
        """Return the logit of being right of every token."""
        logits: Tensor = self.halting_head(latent)
        return logits.squeeze(-1)

    def standing(self, state: CognateState) -> tuple[Int[Tensor, " batch"], int]:
        """Return what each row has read, in chunks of one token: no call is laid out by where rows stand."""
        return state.position, 1

    def schedules(self, outer_step: int | None) -> None:
        """Nothing here depends on the step."""

    def parts(self) -> list[nn.Module]:
        """Return the layers of the backbone; the recursion is never called as a module."""
        return [*self.layers]

    def _layers(self) -> list[BackboneLayer]:
        return [layer for layer in self.layers if isinstance(layer, BackboneLayer)]
