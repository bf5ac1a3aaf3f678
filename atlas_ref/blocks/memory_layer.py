"""A branch with a single memory (`blocks.memory_branch`): its gates, its Q-K projection and its initial weights."""

import math
from contextlib import nullcontext

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from atlas_ref.blocks.fast_memory import FastMemory, Start, Tokens
from atlas_ref.blocks.gates import GateHeads, inverse_softplus, logit
from atlas_ref.blocks.kernels.token_given import Before
from atlas_ref.blocks.memory_branch import (
    L2_EPS,
    Heads,
    MemoryBranch,
    MemoryLayerOutput,
    MemoryLayerState,
    Part,
    Projections,
    Remembered,
)
from atlas_ref.blocks.one_token import token_kernels
from atlas_ref.blocks.timeline import Timeline, make_timeline
from atlas_ref.config.memory import LEAST_RIDGE, MemoryConfig
from atlas_ref.functional.looking import BEGINNING, may_look, unseen
from atlas_ref.functional.normalize import at_least_float32
from atlas_ref.functional.qk_projection import frobenius_tanh
from atlas_ref.memory.architecture import Weights
from atlas_ref.memory.kernels.call import Widths
from atlas_ref.memory.kernels.choice import Kernels, chosen, known
from atlas_ref.memory.kernels.known import fits
from atlas_ref.memory.plan import SegmentPlan
from atlas_ref.memory.rules import Gates
from atlas_ref.memory.shards import Shards, qk_project_in_span
from atlas_ref.memory.state import Held, MemoryState


class TanhGate(nn.Module):
    """The gate of `frobenius_tanh`; a module of its own, so that a hook can see what the network sends through it."""

    def forward(self, projected: Tensor, frobenius: Tensor, log_gain: Tensor) -> Tensor:
        """Return tanh(exp(log_gain) * Pi q / ||Pi||_F)."""
        return frobenius_tanh(projected, frobenius, log_gain, 1.0)


class MemoryLayer(MemoryBranch[MemoryState]):
    """A single test-time memory with all that a branch has (module docstring)."""

    def __init__(
        self, d_model: int, n_heads: int, config: MemoryConfig, writes: bool = True, kernels: Kernels = "auto"
    ) -> None:
        super().__init__(d_model, n_heads, config, writes, kernels)
        self.gates = GateHeads(d_model, n_heads, self.features, config, kernels)
        if config.qk_projection.kind == "frobenius_tanh":
            gain = math.log(config.qk_projection.gain)
            self.log_gain = nn.Parameter(torch.full((n_heads, config.key_dim), gain))
            self.tanh_gate = TanhGate()
        if config.shards.length:
            # One entry with an axis: sharded data parallelism refuses parameters without one.
            self.alpha_logit = nn.Parameter(torch.full((1,), logit(config.shards.alpha_init)))
        if config.algorithm == "ridge":
            raw = torch.full((n_heads, self.features), inverse_softplus(config.ridge_init - LEAST_RIDGE))
            self.ridge = nn.Parameter(raw)
        self.initial = nn.ParameterList(torch.empty(n_heads, *shape) for shape in config.matrices())
        self.fast = FastMemory(config, self.features, kernels)

    def parts(self, state: MemoryLayerState[MemoryState]) -> tuple[Part, ...]:
        """Return the one memory; `ridge` starts from nothing."""
        initial = tuple(self.initial) or tuple(torch.zeros_like(m[0]) for m in state.memory.weights)
        return (Part(state.memory, initial, self.config.shards.length),)

    def by_kernels(self, device: torch.device) -> tuple[bool, ...]:
        """Return whether kernels run the one memory; `ridge` and the ablation are none that they know."""
        config = self.config
        if not self.writes or config.algorithm == "ridge":
            return (False,)
        sizes = (self.features, self.value_dim, config.omega_window)
        return (known(self.kernels, self.fast.rule, device, *sizes, shards=config.shards.length > 0),)

    def mixing_rate(self) -> Tensor | None:
        """Return the learned M3 mixing rate, sigmoid(alpha_logit); None without shards or where nothing is written."""
        shards = self._shards() if self.writes else None
        return None if shards is None else torch.sigmoid(shards.alpha_logit)

    def after(self, tokens: Float[Tensor, "time model"]) -> Weights:
        """Return M of every head after some tokens, written as a document of their own from M_0 on."""
        state = self.initial_state(1)
        position = state.memory.position
        timeline = make_timeline(self.config, state.context, position, None, len(tokens), place=BEGINNING)
        # Whoever may not look knows another place, of other rows.
        with nullcontext() if may_look() else unseen(BEGINNING):
            weights = self(tokens.unsqueeze(0), state, timeline).state.memory.weights
        return tuple(matrix[0] for matrix in weights)

    def recall(
        self, held: tuple[Held, ...], queries: Float[Tensor, "batch time heads key"]
    ) -> Float[Tensor, "batch time values"]:
        """Return what the memory that is held answers."""
        with torch.autocast(queries.device.type, enabled=False):
            return self.fast.recall(held[0].weights, self.expand(queries), self._start()).flatten(-2)

    def _initialise_memory(self, generator: torch.Generator, std: float) -> None:
        self.gates.initialise(generator, std)
        for matrix in self.initial:
            matrix.normal_(std=self.config.initial_std, generator=generator)

    def _fresh(self, batch: int, like: Tensor) -> tuple[MemoryState, Projections]:
        projection = like.new_zeros(batch, self.n_heads, self.key_dim, self.key_dim)
        return self.fast.fresh(self._start(), batch, like), (projection,)

    def _one_token(
        self,
        hidden: Float[Tensor, "batch time model"],
        state: MemoryLayerState[MemoryState],
        timeline: Timeline,
        first: Weights | None,
    ) -> MemoryLayerOutput | None:
        found = token_kernels(self.kernels, hidden, self.config, self.fast.rule, self.features)
        if found is None or not self.writes:
            return None
        memory, plan = state.memory, timeline.plan
        widths = Widths(self.n_heads, self.key_dim, self.value_dim, L2_EPS)
        before = Before(state.convolution, memory.window_keys, memory.window_values, timeline.context, plan.position)
        learned = self.convolution, self.feature_coefficients, self.config.features.basis
        given = self.projection(hidden), self.gates.projection(hidden)
        brought = found.bring(*given, *learned, before, widths, found.gates)
        (initial,) = self._start().initial if first is None else first
        reads, after = found.remembered(self.fast.rule, plan, brought, initial, memory)
        told = MemoryLayerState(after, brought.tail, state.projections, timeline.seen(state.context))
        return MemoryLayerOutput(reads.flatten(-2), told, (), None, None, True, ())

    def _gates(self, hidden: Float[Tensor, "batch time model"]) -> tuple[Gates, ...]:
        return (self.gates(hidden),)

    def _remember(
        self,
        heads: Heads,
        gates: tuple[Gates, ...],
        state: MemoryLayerState[MemoryState],
        timeline: Timeline,
        writes: bool,
        first: Weights | None,
        measured: bool,
    ) -> Remembered:
        aligned, projection = self._align(heads, state, timeline.plan)
        queries, keys = aligned, heads.keys
        if not heads.expanded and keys.shape[1] == 1:
            # Of one token both at once: half of the launches.
            queries, keys = self.expand(torch.stack([queries, keys])).unbind()
        elif not heads.expanded:
            queries, keys = self.expand(queries), self.expand(keys)
        run = self.fast.run if self.writes else self.fast.read
        tokens = Tokens(keys, heads.values, queries, gates[0], timeline.reset, timeline.plan)
        start = self._start() if first is None else self._start()._replace(initial=first)
        output = run(tokens, start, state.memory, writes, measured)
        bounded = aligned if self.writes and self.config.qk_projection.kind == "frobenius_tanh" else None
        return Remembered(output.reads, output.state, (projection,), output.omega_loss, bounded)

    def _align(self, heads: Heads, state: MemoryLayerState[MemoryState], plan: SegmentPlan) -> tuple[Tensor, Tensor]:
        """ALIGN: project queries on the span of keys seen so far, which the ablation must not remember."""
        kind, (before,) = self.config.qk_projection.kind, state.projections
        if kind == "none" or not self.writes:
            return heads.queries, before
        aligned, projection, norm = qk_project_in_span(
            self.config.qk_projection.span, heads.queries, heads.keys, before, plan, self._shards(), self.config.chunk
        )
        if kind == "frobenius_tanh":
            aligned = self.tanh_gate(aligned, norm, self.log_gain)
        return aligned, projection

    def _straight(self, timeline: Timeline) -> bool:
        config, rule, plan = self.config, self.fast.rule, timeline.plan
        if config.features.degree > 1 or config.features.basis == "elementwise" or config.qk_projection.kind != "none":
            return False
        if not self.writes or config.algorithm == "ridge" or config.shards.length:
            return False
        if chosen(self.kernels, plan.position.device) == "cpu":
            # In full precision, so that every form of the memory may go on from there.
            return True
        slots = plan.width + config.omega_window + config.ttl_update_frequency - 2
        return plan.time > 1 and not rule.orthogonalised and fits(rule, self.features, self.value_dim, slots)

    def _lifted_at_once(self, timeline: Timeline) -> bool:
        # Of one token: half of the launches. Nothing aligns the queries in between.
        return timeline.context.shape[1] == 1 and self.config.qk_projection.kind == "none"

    def _shards(self) -> Shards | None:
        """Return what goes over the border of a shard, where the configuration has any."""
        shards = self.config.shards
        if not shards.length:
            return None
        return Shards(shards.length, shards.warmup_crossings, at_least_float32(self.alpha_logit).squeeze(0))

    def _start(self) -> Start:
        """Return M_0 or Lambda of every head, in float32 or wider, and what acts at the borders of shards."""
        initial = tuple(at_least_float32(matrix) for matrix in self.initial)
        ridge = None
        if self.config.algorithm == "ridge":
            ridge = LEAST_RIDGE + F.softplus(at_least_float32(self.ridge))
        return Start(initial, ridge, self._shards())
