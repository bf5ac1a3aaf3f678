"""The memory branch of a block: from hidden states to reads of a test-time memory.

    PROJECT    q, k, v = conv(W_q h), conv(W_k h), conv(W_v h); q and k then SiLU and l2 norm (decision `addresses`)
    ALIGN      optional Q-K projection of the query (TNT 2511.07343 Eq. 7, or its tanh-gated form)
    EXPAND     polynomial features f(q), f(k) (ATLAS 2505.23735 Section 3.1)
    GATE       retention, momentum, step size, window weights and threshold of each token and head (`blocks.gates`)
    REMEMBER   the memory that the configuration names (`blocks.fast_memory`)

Parameters live here, state does not: it is passed in and returned. The memory computes in float32 or wider whatever
the dtype of the model, and writes in training, evaluation and inference alike.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from atlas_ref.blocks.fast_memory import FastMemory, Start, Tokens
from atlas_ref.blocks.gates import GateHeads, inverse_softplus, logit
from atlas_ref.blocks.timeline import Timeline
from atlas_ref.config.memory import LEAST_RIDGE, MemoryConfig
from atlas_ref.functional.convolution import short_convolution
from atlas_ref.functional.normalize import at_least_float32, l2_normalize
from atlas_ref.functional.polynomial import feature_dim, initial_coefficients, polynomial_features
from atlas_ref.functional.qk_projection import frobenius_tanh
from atlas_ref.functional.window import recent
from atlas_ref.memory.plan import SegmentPlan
from atlas_ref.memory.rules import Gates
from atlas_ref.memory.shards import Shards, qk_project_in_shards
from atlas_ref.memory.state import MemoryState, StateTree

L2_EPS = 1e-6


@dataclass(frozen=True)
class MemoryLayerState(StateTree):
    """What the memory branch carries: the memory itself, the convolution's last inputs, and the Q-K projection.

    `context` counts the tokens of the context so far, which the convolution looks at, and in a block attention too.
    """

    memory: MemoryState
    convolution: Float[Tensor, "batch past channels"]
    projection: Float[Tensor, "batch heads key key"]
    context: Int[Tensor, " batch"]


class MemoryLayerOutput(NamedTuple):
    """Reads of every head side by side, the state after the call, and for telemetry the gates and bounded queries."""

    reads: Float[Tensor, "batch time values"]
    state: MemoryLayerState
    gates: Gates
    bounded: Float[Tensor, "batch time heads key"] | None
    """tanh of the gained queries, where the Q-K projection is `frobenius_tanh`"""
    omega_loss: Float[Tensor, ""] | None
    """see `MemoryOutput`; None where nothing is written"""
    wrote: bool
    """whether any token may have written"""


class TanhGate(nn.Module):
    """The gate of `frobenius_tanh`; a module of its own, so that a hook can see what the network sends through it."""

    def forward(self, projected: Tensor, frobenius: Tensor, log_gain: Tensor) -> Tensor:
        """Return tanh(exp(log_gain) * Pi q / ||Pi||_F)."""
        return frobenius_tanh(projected, frobenius, log_gain, 1.0)


class MemoryLayer(nn.Module):
    """A test-time memory with its projections, convolution, features and gates (module docstring)."""

    def __init__(self, d_model: int, n_heads: int, config: MemoryConfig, writes: bool = True) -> None:
        super().__init__()
        self.n_heads, self.key_dim, self.value_dim = n_heads, config.key_dim, config.value_dim
        self.config = config
        self.writes = writes
        self.features = feature_dim(config.key_dim, config.features.degree, config.features.basis)
        self.channels = sum(self._widths())
        self.projection = nn.Linear(d_model, self.channels, bias=False)
        self.convolution = nn.Parameter(torch.empty(self.channels, config.conv_kernel))
        self.gates = GateHeads(d_model, n_heads, self.features, config)
        # softplus(raw) keeps the kernel coefficients a_i positive; they start at 1/i!.
        start = torch.tensor(initial_coefficients(config.features.degree))
        self.feature_coefficients = nn.Parameter(start.expm1().log())
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
        self.fast = FastMemory(config, self.features)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator, std: float) -> None:
        """Start as an associative memory: each token is stored under the tokens before it, and asked for by them.

        W_q starts equal to W_k; the convolutions of q and v start as 1/2, 1/4, 1/8 ... by age, that of k one token
        later: 1/2, 1/4 ... from age 1 on, and the least weight for the token itself, so that the first token of a
        document has a key too (a zero momentum makes the gradient of Newton-Schulz explode). With independent random
        starts the pair (key, following value) is bound only after a long plateau, or never (docs/findings.md).
        """
        queries, keys, values = torch.split(self.projection.weight, self._widths())
        queries.normal_(std=std, generator=generator)
        keys.copy_(queries)
        values.normal_(std=std, generator=generator)
        kernel = self.convolution.shape[1]
        by_age = 0.5 ** torch.arange(kernel, 0.0, -1.0)
        self.convolution.copy_(by_age)
        torch.split(self.convolution, self._widths())[1].copy_(by_age.roll(-1))
        self.gates.initialise(generator, std)
        for matrix in self.initial:
            matrix.normal_(std=self.config.initial_std, generator=generator)

    def _widths(self) -> list[int]:
        """Return the widths of q, k and v, all heads together."""
        key = self.n_heads * self.key_dim
        return [key, key, self.n_heads * self.value_dim]

    def initial_state(self, batch: int) -> MemoryLayerState:
        """Return the state of `batch` rows before their first token."""
        like = at_least_float32(self.convolution)
        memory = self.fast.fresh(self._start(), batch, like)
        return MemoryLayerState(
            memory=memory,
            convolution=like.new_zeros(batch, self.config.conv_kernel - 1, self.channels),
            projection=like.new_zeros(batch, self.n_heads, self.key_dim, self.key_dim),
            context=torch.zeros_like(memory.position),
        )

    def forward(
        self,
        hidden: Float[Tensor, "batch time model"],
        state: MemoryLayerState,
        timeline: Timeline,
        writes: bool = True,
    ) -> MemoryLayerOutput:
        """Write and read `time` tokens, which stand where the timeline of the call says.

        Without `writes`, which is the warm-up of decision `write-schedule`, tokens read what the state holds and
        write nothing; all else goes on, so that a later call continues in the middle of a document.
        """
        gates, plan = self.gates(hidden), timeline.plan
        mixed, tail = self._project(hidden, state, timeline)
        with torch.autocast(hidden.device.type, enabled=False):
            queries, keys, values = self._heads(mixed)
            aligned, projection = self._align(queries, keys, state, plan)
            queries, keys = self.expand(torch.stack([aligned, keys])).unbind()
            run = self.fast.run if self.writes else self.fast.read
            tokens = Tokens(keys, values, queries, gates, timeline.reset, plan)
            output = run(tokens, self._start(), state.memory, writes)
        after = MemoryLayerState(output.state, tail, projection, timeline.seen(state.context))
        bounded = aligned if self.writes and self.config.qk_projection.kind == "frobenius_tanh" else None
        wrote = self.writes and writes and plan.time > 0
        return MemoryLayerOutput(output.reads.flatten(-2), after, gates, bounded, output.omega_loss, wrote)

    def _project(
        self, hidden: Tensor, state: MemoryLayerState, timeline: Timeline
    ) -> tuple[Float[Tensor, "batch time channels"], Float[Tensor, "batch past channels"]]:
        """PROJECT: one matrix and one convolution for q, k and v together."""
        projected: Tensor = self.projection(hidden)
        # The convolution belongs to the memory: float32 or wider, whatever the matrix product was in.
        with torch.autocast(hidden.device.type, enabled=False):
            mixed, tail = short_convolution(
                at_least_float32(projected), self.convolution, state.convolution, timeline.context
            )
        seen = timeline.seen(state.context)
        return mixed, recent(seen, tail.shape[1], tail.unsqueeze(2))[0].squeeze(2)

    def _heads(self, mixed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return q, k (SiLU, unit length) and v, each [batch, time, heads, dim]."""
        widths = [2 * self.n_heads * self.key_dim, self.n_heads * self.value_dim]
        addresses, values = torch.split(mixed, widths, dim=-1)
        addresses = torch.unflatten(F.silu(addresses), -1, (2, self.n_heads, self.key_dim))
        queries, keys = l2_normalize(addresses, L2_EPS).unbind(2)
        return queries, keys, torch.unflatten(values, -1, (self.n_heads, self.value_dim))

    def _align(
        self, queries: Tensor, keys: Tensor, state: MemoryLayerState, plan: SegmentPlan
    ) -> tuple[Tensor, Tensor]:
        """ALIGN: project queries on the span of the keys of their document, which the ablation must not remember."""
        kind = self.config.qk_projection.kind
        if kind == "none" or not self.writes:
            return queries, state.projection
        aligned, projection, norm = qk_project_in_shards(queries, keys, state.projection, plan, self._shards())
        if kind == "frobenius_tanh":
            aligned = self.tanh_gate(aligned, norm, self.log_gain)
        return aligned, projection

    def _shards(self) -> Shards | None:
        """Return what goes over the border of a shard, where the configuration has any."""
        shards = self.config.shards
        if not shards.length:
            return None
        return Shards(shards.length, shards.warmup_crossings, at_least_float32(self.alpha_logit).squeeze(0))

    def mixing_rate(self) -> Tensor | None:
        """Return the learned M3 mixing rate, sigmoid(alpha_logit); None without shards or where nothing is written."""
        shards = self._shards() if self.writes else None
        return None if shards is None else torch.sigmoid(shards.alpha_logit)

    def expand(self, x: Tensor) -> Tensor:
        """EXPAND: polynomial features with learned positive kernel coefficients."""
        coefficients = F.softplus(at_least_float32(self.feature_coefficients))
        return polynomial_features(x, coefficients, self.config.features.basis)

    def _start(self) -> Start:
        """Return M_0 or Lambda of every head, in float32 or wider, and what acts at the borders of shards."""
        initial = tuple(at_least_float32(matrix) for matrix in self.initial)
        ridge = None
        if self.config.algorithm == "ridge":
            ridge = LEAST_RIDGE + F.softplus(at_least_float32(self.ridge))
        return Start(initial, ridge, self._shards())
