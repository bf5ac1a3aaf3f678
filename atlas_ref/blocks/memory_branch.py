"""The memory branch of a block: from hidden states to reads of a test-time memory, or of several.

    PROJECT    q, k, v = conv(W_q h), conv(W_k h), conv(W_v h); q and k then SiLU and l2 norm (decision `addresses`)
    ALIGN      optional Q-K projection of the query (TNT 2511.07343 Eq. 7, or its tanh-gated form)
    EXPAND     polynomial features f(q), f(k) (ATLAS 2505.23735 Section 3.1)
    GATE       retention, momentum, step size, window weights and threshold of each token and head (`blocks.gates`)
    REMEMBER   the memory that the configuration names

PROJECT and EXPAND are the same whatever remembers, and stand here; `memory_layer` has the rest for a single memory,
`hierarchical_layer` for a hierarchy. A block knows only what is here.

Parameters live here, state does not: it is passed in and returned. The memory computes in float32 or wider whatever
the dtype of the model, and writes in training, evaluation and inference alike.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from atlas_ref.blocks.kernels.choice import kernel_features
from atlas_ref.blocks.timeline import Timeline
from atlas_ref.config.memory import MemoryConfig
from atlas_ref.functional.convolution import short_convolution
from atlas_ref.functional.normalize import as_autocast_rounds, at_least_float32, l2_normalize, without_autocast
from atlas_ref.functional.once import once
from atlas_ref.functional.polynomial import factors, feature_dim, initial_coefficients, lifted
from atlas_ref.functional.window import latest
from atlas_ref.memory.architecture import Weights
from atlas_ref.memory.hierarchical import HierarchicalState
from atlas_ref.memory.kernels.call import Widths
from atlas_ref.memory.kernels.choice import Kernels, activations, kernel_front
from atlas_ref.memory.rules import Gates
from atlas_ref.memory.state import Held, MemoryState, StateTree

L2_EPS = 1e-6
Memory = TypeVar("Memory", bound=MemoryState | HierarchicalState)
"""What is remembered: by a single memory, or by a hierarchy."""
Projections = tuple[Float[Tensor, "batch heads key key"], ...]
"""The Q-K projection of a single memory; a hierarchy keeps those of its local memories in its own state."""


@dataclass(frozen=True)
class MemoryLayerState(StateTree, Generic[Memory]):
    """What the memory branch carries: what is remembered, the convolution's last inputs, and the Q-K projection.

    `context` counts the tokens of the context so far, which the convolution looks at, and in a block attention too.
    """

    memory: Memory
    convolution: Float[Tensor, "batch past channels"]
    projections: Projections
    context: Int[Tensor, " batch"]


class Heads(NamedTuple):
    """What the hidden states were projected to; queries and keys have unit length, unless they are features already."""

    queries: Float[Tensor, "batch time heads key"]
    keys: Float[Tensor, "batch time heads key"]
    values: Float[Tensor, "batch time heads values"]
    expanded: bool = False


class Remembered(NamedTuple):
    """What a memory makes of a call: its part of `MemoryLayerState` and of `MemoryLayerOutput`."""

    reads: Float[Tensor, "batch time heads values"]
    memory: MemoryState | HierarchicalState
    projections: Projections
    omega_loss: Float[Tensor, ""] | None
    bounded: Float[Tensor, "batch time heads key"] | None = None
    each: tuple[Float[Tensor, "batch time heads values"], ...] = ()


class MemoryLayerOutput(NamedTuple):
    """Reads of every head side by side, the state after the call, and for telemetry the gates and bounded queries."""

    reads: Float[Tensor, "batch time values"]
    state: MemoryLayerState[Any]
    gates: tuple[Gates, ...]
    """of each memory"""
    bounded: Float[Tensor, "batch time heads key"] | None
    """tanh of the gained queries, where the Q-K projection is `frobenius_tanh`"""
    omega_loss: Float[Tensor, ""] | None
    """see `MemoryOutput`; None where nothing is written, and of a hierarchy"""
    wrote: bool
    """whether any token may have written"""
    each: tuple[Float[Tensor, "batch time heads values"], ...]
    """the reads of each memory of a hierarchy, which add up to `reads`; empty for a single memory"""


class Part(NamedTuple):
    """One memory of a branch at one moment: its state, what it starts from, and how long its shards are (0: none)."""

    state: MemoryState
    initial: Weights
    shard: int


class MemoryBranch(nn.Module, Generic[Memory]):
    """A memory with its projections, convolution and features (module docstring); what remembers is a subclass's."""

    def __init__(
        self, d_model: int, n_heads: int, config: MemoryConfig, writes: bool = True, kernels: Kernels = "auto"
    ) -> None:
        super().__init__()
        self.kernels, self.config, self.writes = kernels, config, writes
        self.n_heads, self.key_dim, self.value_dim = n_heads, config.key_dim, config.value_dim
        self.features = feature_dim(config.key_dim, config.features.degree, config.features.basis)
        self.channels = sum(self._widths())
        self.projection = nn.Linear(d_model, self.channels, bias=False)
        self.convolution = nn.Parameter(torch.empty(self.channels, config.conv_kernel))
        # softplus(raw) keeps the kernel coefficients a_i positive; they start at 1/i!.
        start = torch.tensor(initial_coefficients(config.features.degree))
        self.feature_coefficients = nn.Parameter(start.expm1().log())

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
        by_age = 0.5 ** torch.arange(self.convolution.shape[1], 0.0, -1.0)
        self.convolution.copy_(by_age)
        torch.split(self.convolution, self._widths())[1].copy_(by_age.roll(-1))
        self._initialise_memory(generator, std)

    def initial_state(self, batch: int) -> MemoryLayerState[Memory]:
        """Return the state of `batch` rows before their first token."""
        like = at_least_float32(self.convolution)
        memory, projections = self._fresh(batch, like)
        convolution = like.new_zeros(batch, self.config.conv_kernel - 1, self.channels)
        return MemoryLayerState(memory, convolution, projections, torch.zeros_like(memory.position))

    def forward(
        self,
        hidden: Float[Tensor, "batch time model"],
        state: MemoryLayerState[Memory],
        timeline: Timeline,
        writes: bool = True,
        first: Weights | None = None,
        measured: bool = True,
        gating: Float[Tensor, "batch time model"] | None = None,
    ) -> MemoryLayerOutput:
        """Write and read `time` tokens, which stand where the timeline of the call says.

        `first` is what a document starts from in the place of M_0 (`MemoryLayer.after`), of a single memory alone.
        Without `measured` there is no Omega loss, which telemetry alone reads.

        Without `writes`, which is the warm-up of decision `write-schedule`, tokens read what the state holds and
        write nothing; all else goes on, so that a later call continues in the middle of a document. `gating` is
        `hidden`, where the gates have a use of their own of what it is the norm of (`passes.normed`).
        """
        same = gating is None or gating is hidden
        hidden = as_autocast_rounds(hidden)
        alone = None if measured or not writes else self._one_token(hidden, state, timeline, first)
        if alone is not None:
            return alone
        gates = self._gates(hidden if same or gating is None else as_autocast_rounds(gating))
        projected: Tensor = self.projection(hidden)
        # The convolution belongs to the memory: float32 or wider, whatever the matrix product was in.
        with without_autocast(hidden.device):
            heads, tail = self._project(projected, state, timeline)
            found = self._remember(heads, gates, state, timeline, writes, first, measured)
        after = MemoryLayerState(found.memory, tail, found.projections, timeline.seen(state.context))
        told = (found.omega_loss, self.writes and writes and timeline.plan.time > 0, found.each)
        return MemoryLayerOutput(found.reads.flatten(-2), after, gates, found.bounded, *told)

    def expand(self, x: Tensor) -> Tensor:
        """EXPAND: polynomial features with learned positive kernel coefficients."""
        degree, basis = self.config.features.degree, self.config.features.basis
        by_kernels = kernel_features(self.kernels, x, degree, basis)
        if by_kernels is None:
            return lifted(x, once(self._factors, self.feature_coefficients), basis)
        return by_kernels(x, self._coefficients(), basis)

    @abstractmethod
    def parts(self, state: MemoryLayerState[Memory]) -> tuple[Part, ...]:
        """Return each memory of a state, for telemetry."""

    def held(self, state: MemoryLayerState[Memory]) -> tuple[Held, ...]:
        """Return what `recall` reads of a state; the ablation holds what it started with for ever."""
        if not self.writes:
            return self.started(len(state.context))
        return tuple(Held(part.state.weights) for part in self.parts(state))

    def started(self, batch: int) -> tuple[Held, ...]:
        """Return what `recall` reads of `batch` rows before their first token."""
        return tuple(Held(part.state.weights) for part in self.parts(self.initial_state(batch)))

    @abstractmethod
    def recall(
        self, held: tuple[Held, ...], queries: Float[Tensor, "batch time heads key"]
    ) -> Float[Tensor, "batch time values"]:
        """Return what a memory that is held answers to queries of unit length, and write nothing."""

    @abstractmethod
    def by_kernels(self, device: torch.device) -> tuple[bool, ...]:
        """Return of each memory whether kernels run it on `device`, and not the reference."""

    @abstractmethod
    def mixing_rate(self) -> Tensor | None:
        """Return the learned M3 mixing rate at the borders of shards; None where there is none or nothing is written.

        Of several the one that is furthest from 1/2.
        """

    @abstractmethod
    def _initialise_memory(self, generator: torch.Generator, std: float) -> None:
        """Draw the weights of gates and initial memories."""

    @abstractmethod
    def _fresh(self, batch: int, like: Tensor) -> tuple[Memory, Projections]:
        """Return what is remembered, and the Q-K projection, before the first token."""

    @abstractmethod
    def _gates(self, hidden: Float[Tensor, "batch time model"]) -> tuple[Gates, ...]:
        """GATE: return the gates of each memory."""

    def _one_token(
        self,
        hidden: Float[Tensor, "batch time model"],
        state: MemoryLayerState[Memory],
        timeline: Timeline,
        first: Weights | None,
    ) -> MemoryLayerOutput | None:
        """Return what `forward` does of a call of one token by kernels that do all of it; None where there are none."""
        del hidden, state, timeline, first
        return None

    @abstractmethod
    def _remember(
        self,
        heads: Heads,
        gates: tuple[Gates, ...],
        state: MemoryLayerState[Memory],
        timeline: Timeline,
        writes: bool,
        first: Weights | None,
        measured: bool,
    ) -> Remembered:
        """ALIGN, EXPAND and REMEMBER; where the layer does not write (the ablation), M_0 is read for ever."""

    def _coefficients(self) -> Float[Tensor, " degree"]:
        return F.softplus(at_least_float32(self.feature_coefficients))

    def _factors(self) -> tuple[Tensor, ...]:
        return factors(self._coefficients(), self.key_dim, self.config.features.basis)

    def _straight(self, timeline: Timeline) -> bool:
        """Return whether kernels take features of degree one straight from the kernel of the front."""
        del timeline
        return False

    def _lifted_at_once(self, timeline: Timeline) -> bool:
        """Return whether queries and keys are lifted to features together, where they still lie side by side."""
        del timeline
        return False

    def _widths(self) -> list[int]:
        """Return the widths of q, k and v, all heads together."""
        key = self.n_heads * self.key_dim
        return [key, key, self.n_heads * self.value_dim]

    def _project(
        self, projected: Float[Tensor, "batch time channels"], state: MemoryLayerState[Memory], timeline: Timeline
    ) -> tuple[Heads, Float[Tensor, "batch past channels"]]:
        """PROJECT: return q, k and v of every head from one matrix product, and the convolution's next past."""
        past, given = state.convolution.shape[1], (self.convolution, state.convolution, timeline.context)
        front = kernel_front(self.kernels, projected, self.convolution)
        if front is None:
            mixed, tail = short_convolution(at_least_float32(projected), *given)
            heads = self._heads(mixed, self._lifted_at_once(timeline))
        else:
            widths = Widths(self.n_heads, self.key_dim, self.value_dim, L2_EPS)
            scale = self._coefficients().sqrt() if self._straight(timeline) else None
            dtype = torch.promote_types(projected.dtype, torch.float32) if scale is None else activations(projected)
            heads = Heads(*front(projected, *given, scale, widths, dtype), expanded=scale is not None)
            tail = latest(state.convolution, at_least_float32(projected[:, max(0, projected.shape[1] - past) :]))
        return heads, timeline.recent(state.context, past, tail.unsqueeze(2))[0].squeeze(2)

    def _heads(self, mixed: Tensor, lifted: bool) -> Heads:
        """Return q, k (SiLU, unit length) and v of every head; where they are to be `lifted`, features of q and k."""
        widths = [2 * self.n_heads * self.key_dim, self.n_heads * self.value_dim]
        addresses, values = mixed.split_with_sizes(widths, -1)
        addresses = l2_normalize(torch.unflatten(F.silu(addresses), -1, (2, self.n_heads, self.key_dim)), L2_EPS)
        queries, keys = (self.expand(addresses) if lifted else addresses).unbind(2)
        return Heads(queries, keys, torch.unflatten(values, -1, (self.n_heads, self.value_dim)), lifted)
