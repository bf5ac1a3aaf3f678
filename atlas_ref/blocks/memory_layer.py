"""The memory branch of a block: from hidden states to reads of a test-time memory.

    PROJECT    q, k, v = conv(W_q h), conv(W_k h), conv(W_v h); q and k then SiLU and l2 norm (decision `addresses`)
    ALIGN      optional Q-K projection of the query (TNT 2511.07343 Eq. 7, or its tanh-gated form)
    EXPAND     polynomial features f(q), f(k) (ATLAS 2505.23735 Section 3.1)
    GATE       retention, momentum, step size and window weights of each token and head, sigmoids of h
    REMEMBER   the chunked memory of `atlas_ref.memory.chunked`

Parameters live here, state does not: it is passed in and returned. The memory computes in float32 or wider whatever
the dtype of the model, and writes in training, evaluation and inference alike.
"""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from atlas_ref.config.model import GatesConfig, MemoryConfig
from atlas_ref.functional.convolution import short_convolution
from atlas_ref.functional.normalize import at_least_float32, l2_normalize
from atlas_ref.functional.polynomial import feature_dim, initial_coefficients, polynomial_features
from atlas_ref.functional.qk_projection import frobenius_tanh
from atlas_ref.functional.window import recent
from atlas_ref.memory.architecture import predict_with
from atlas_ref.memory.chunked import memory_chunked
from atlas_ref.memory.plan import SegmentPlan
from atlas_ref.memory.recurrent import MemoryOutput
from atlas_ref.memory.rules import Gates, MemoryRule
from atlas_ref.memory.shards import Shards, qk_project_in_shards
from atlas_ref.memory.state import MemoryState, StateTree, fresh_memory_state

L2_EPS = 1e-6
SLOWEST_FAST_RATE = 0.01


def memory_rule(config: MemoryConfig) -> MemoryRule:
    """Return the semantics of reads and writes that `config` names."""
    return MemoryRule(
        architecture=config.architecture,
        name=config.rule,
        chunk=config.chunk,
        boundary=config.window_boundary,
        read=config.read,
        loss_scale=0.5 if config.loss_scale == "half" else 1.0,
        step_scale=config.step_scale,
        momentum_max=config.gates.momentum_max,
        coefficients=config.newton_schulz.coefficients,
        newton_schulz_steps=config.newton_schulz.steps,
        update_every=config.ttl_update_frequency,
    )


@dataclass(frozen=True)
class MemoryLayerState(StateTree):
    """What the memory branch carries: the memory itself, the convolution's last inputs, and the Q-K projection."""

    memory: MemoryState
    convolution: Float[Tensor, "batch past channels"]
    projection: Float[Tensor, "batch heads key key"]


class MemoryLayerOutput(NamedTuple):
    """Reads of every head side by side, the state after the call, and for telemetry the gates and bounded queries."""

    reads: Float[Tensor, "batch time values"]
    state: MemoryLayerState
    gates: Gates
    bounded: Float[Tensor, "batch time heads key"] | None
    """tanh of the gained queries, where the Q-K projection is `frobenius_tanh`"""
    omega_loss: Float[Tensor, ""] | None
    """see `MemoryOutput`; None where nothing is written"""


def _logit(share: float) -> float:
    return math.log(share / (1.0 - share))


def _starts(n_heads: int, config: GatesConfig) -> tuple[list[float], list[float]]:
    """Return the retention and the step size of every head at the start.

    The last n = `fast_heads` heads forget faster, head i of them (1-based) at the rate
    1 - alpha_i = 0.01 (r / 0.01)^(i / n), r = 1 - `fast_retention_init`: time scales in equal ratios, as in RetNet
    (2307.08621), from the hundred tokens that the others exceed (decision `gates`), and at half the largest step. One
    memory cannot both keep what it was trained to hold and follow the last few words.
    """
    fast, rate = config.fast_heads, 1.0 - config.fast_retention_init
    rates = [SLOWEST_FAST_RATE * (rate / SLOWEST_FAST_RATE) ** (i / fast) for i in range(1, fast + 1)]
    retention = [config.retention_init] * (n_heads - fast) + [1.0 - r for r in rates]
    return retention, [config.step_init] * (n_heads - fast) + [0.5 * config.step_max] * fast


class GateHeads(nn.Module):
    """Sigmoid heads for retention, momentum, step size and window weights, one of each a head (and age)."""

    def __init__(self, d_model: int, n_heads: int, window: int, config: GatesConfig) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.momentum_max, self.step_max = config.momentum_max, config.step_max
        self.projection = nn.Linear(d_model, n_heads * (3 + window))
        retention, step = _starts(n_heads, config)
        starts = [
            *retention,
            *[config.momentum_init / config.momentum_max] * n_heads,
            *[start / config.step_max for start in step],
            *[config.window_init] * (window * n_heads),
        ]
        with torch.no_grad():
            self.projection.bias.copy_(torch.tensor([_logit(start) for start in starts]))

    def forward(self, hidden: Float[Tensor, "batch time model"]) -> Gates:
        """Return the gates of each token and head in float32 or wider."""
        raw: Tensor = self.projection(hidden)
        gates = torch.unflatten(torch.sigmoid(at_least_float32(raw)), -1, (-1, self.n_heads))
        return Gates(
            retention=gates[..., 0, :],
            momentum=gates[..., 1, :] * self.momentum_max,
            step=gates[..., 2, :] * self.step_max,
            window=gates[..., 3:, :].transpose(-1, -2),
        )


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
        self.rule = memory_rule(config)
        self.features = feature_dim(config.key_dim, config.features.degree, config.features.basis)
        self.channels = sum(self._widths())
        self.projection = nn.Linear(d_model, self.channels, bias=False)
        self.convolution = nn.Parameter(torch.empty(self.channels, config.conv_kernel))
        self.gates = GateHeads(d_model, n_heads, config.omega_window, config.gates)
        # softplus(raw) keeps the kernel coefficients a_i positive; they start at 1/i!.
        start = torch.tensor(initial_coefficients(config.features.degree))
        self.feature_coefficients = nn.Parameter(start.expm1().log())
        if config.qk_projection.kind == "frobenius_tanh":
            gain = math.log(config.qk_projection.gain)
            self.log_gain = nn.Parameter(torch.full((n_heads, config.key_dim), gain))
            self.tanh_gate = TanhGate()
        if config.shards.length:
            # One entry with an axis: sharded data parallelism refuses parameters without one.
            self.alpha_logit = nn.Parameter(torch.full((1,), _logit(config.shards.alpha_init)))
        self.initial = nn.ParameterList(torch.empty(n_heads, *shape) for shape in self._shapes())

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
        self.gates.projection.weight.zero_()
        for matrix in self.initial:
            matrix.normal_(std=self.config.initial_std, generator=generator)

    def _widths(self) -> list[int]:
        """Return the widths of q, k and v, all heads together."""
        key = self.n_heads * self.key_dim
        return [key, key, self.n_heads * self.value_dim]

    def _shapes(self) -> list[tuple[int, int]]:
        """Return (out, in) of each weight matrix of one head's memory."""
        if self.config.architecture == "matrix":
            return [(self.value_dim, self.features)]
        hidden = self.config.expansion * self.value_dim
        return [(self.value_dim, hidden), (hidden, self.features)]

    def initial_state(self, batch: int) -> MemoryLayerState:
        """Return the state of `batch` rows before their first token."""
        initial = tuple(at_least_float32(matrix) for matrix in self.initial)
        memory = fresh_memory_state(
            initial, batch, self.config.omega_window, self.features, self.value_dim, self.rule.update_every
        )
        like = initial[0]
        return MemoryLayerState(
            memory=memory,
            convolution=like.new_zeros(batch, self.config.conv_kernel - 1, self.channels),
            projection=like.new_zeros(batch, self.n_heads, self.key_dim, self.key_dim),
        )

    def forward(
        self,
        hidden: Float[Tensor, "batch time model"],
        state: MemoryLayerState,
        reset: Bool[Tensor, "batch time"] | None,
        plan: SegmentPlan,
        writes: bool = True,
    ) -> MemoryLayerOutput:
        """Write and read `time` tokens; `plan` is `make_plan` of the same position, reset, time, chunk and shards.

        Without `writes`, which is the warm-up of decision `write-schedule`, tokens read what the state holds and
        write nothing; all else goes on, so that a later call continues in the middle of a document.
        """
        gates = self.gates(hidden)
        mixed, tail = self._project(hidden, state, plan)
        with torch.autocast(hidden.device.type, enabled=False):
            queries, keys, values = self._heads(mixed)
            aligned, projection = self._align(queries, keys, state, plan)
            queries, keys = self.expand(torch.stack([aligned, keys])).unbind()
            output = self._remember(queries, keys, values, gates, state, reset, plan, writes)
        after = MemoryLayerState(output.state, tail, projection)
        bounded = aligned if self.writes and self.config.qk_projection.kind == "frobenius_tanh" else None
        return MemoryLayerOutput(output.reads.flatten(-2), after, gates, bounded, output.omega_loss)

    def _project(
        self, hidden: Tensor, state: MemoryLayerState, plan: SegmentPlan
    ) -> tuple[Float[Tensor, "batch time channels"], Float[Tensor, "batch past channels"]]:
        """PROJECT: one matrix and one convolution for q, k and v together."""
        projected: Tensor = self.projection(hidden)
        # The convolution belongs to the memory: float32 or wider, whatever the matrix product was in.
        with torch.autocast(hidden.device.type, enabled=False):
            mixed, tail = short_convolution(
                at_least_float32(projected), self.convolution, state.convolution, plan.position
            )
        seen = plan.seen(state.memory.position)
        return mixed, recent(tail.unsqueeze(2), seen, tail.shape[1]).squeeze(2)

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

    def _remember(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        gates: Gates,
        state: MemoryLayerState,
        reset: Tensor | None,
        plan: SegmentPlan,
        writes: bool,
    ) -> MemoryOutput:
        """REMEMBER: run the memory, or, in the ablation, read M_0 for ever."""
        initial = tuple(at_least_float32(matrix) for matrix in self.initial)
        if self.writes:
            memory, shards = state.memory, self._shards()
            return memory_chunked(
                self.rule, keys, values, queries, gates, initial, memory, reset, plan, writes=writes, shards=shards
            )
        reads = predict_with(self.rule.architecture, initial, queries.transpose(1, 2)).transpose(1, 2)
        return MemoryOutput(reads, replace(state.memory, position=plan.seen(state.memory.position)))
