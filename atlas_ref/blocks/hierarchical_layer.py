"""A branch with a hierarchy of memories (`memory.hierarchical`; TNT 2511.07343): gates and W_init of each.

The global memory has the chunk of the configuration and is read at its start; each local one has a chunk, shards and a
learned start of its own. All share rule, projections, convolution and features, and their reads add up.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from atlas_ref.blocks.fast_memory import memory_rule
from atlas_ref.blocks.gates import GateHeads, logit
from atlas_ref.blocks.memory_branch import Heads, MemoryBranch, MemoryLayerState, Part, Projections, Remembered
from atlas_ref.blocks.timeline import Timeline
from atlas_ref.config.memory import MemoryConfig
from atlas_ref.functional.normalize import at_least_float32
from atlas_ref.memory.architecture import Weights, predict_with
from atlas_ref.memory.hierarchical import (
    HierarchicalState,
    Hierarchy,
    fresh_hierarchical_state,
    hierarchical_chunked,
)
from atlas_ref.memory.kernels.choice import Kernels, known
from atlas_ref.memory.link import linked
from atlas_ref.memory.plan import SegmentPlan
from atlas_ref.memory.rules import Gates
from atlas_ref.memory.shards import Shards
from atlas_ref.memory.state import Held


def hierarchy_of(config: MemoryConfig) -> Hierarchy:
    """Return the memories that a configuration names, the global one first."""
    local, rule = config.hierarchy, memory_rule(config)
    steps = local.local_step_chunks or (0,) * len(local.local_chunks)
    rules = [replace(rule, read="anchor")]
    for chunk, step_chunk in zip(local.local_chunks, steps, strict=True):
        rules.append(replace(rule, chunk=chunk, step_chunk=step_chunk))
    span = "none" if config.qk_projection.kind == "none" else config.qk_projection.span
    return Hierarchy(tuple(rules), (0, *local.local_shards), span, local.border)


class HierarchicalLayer(MemoryBranch[HierarchicalState]):
    """A global memory and local ones beside it, with all that a branch has (module docstring)."""

    def __init__(
        self, d_model: int, n_heads: int, config: MemoryConfig, writes: bool = True, kernels: Kernels = "auto"
    ) -> None:
        super().__init__(d_model, n_heads, config, writes, kernels)
        self.hierarchy = hierarchy_of(config)
        memories = self.hierarchy.rules
        self.gates = nn.ModuleList(GateHeads(d_model, n_heads, self.features, config, kernels) for _ in memories)
        if self.hierarchy.border == "m3":
            self.alpha_logit = nn.Parameter(torch.full((len(memories) - 1,), logit(config.shards.alpha_init)))
        starts = [[torch.empty(n_heads, *shape) for shape in config.matrices()] for _ in memories]
        self.initial = nn.ModuleList(nn.ParameterList(start) for start in starts)

    def parts(self, state: MemoryLayerState[HierarchicalState]) -> tuple[Part, ...]:
        """Return every memory, the global one first."""
        memories = zip(state.memory.memories, self._starts(), self.hierarchy.shards, strict=True)
        return tuple(Part(*memory) for memory in memories)

    def local_parameters(self) -> Iterator[nn.Parameter]:
        """Yield what the local memories have of their own: where each starts, and its gates."""
        for module in (*self._parameters_of_starts()[1:], *self._gate_heads()[1:]):
            yield from module.parameters()

    def by_kernels(self, device: torch.device) -> tuple[bool, ...]:
        """Return of each memory whether kernels run it, the global one first; the ablation has none."""
        sizes, over = (self.features, self.value_dim, self.config.omega_window), self.hierarchy.border == "m3"
        memories = zip(self.hierarchy.rules, self.hierarchy.shards, strict=True)
        return tuple(
            self.writes and known(self.kernels, rule, device, *sizes, shards=over and shard > 0)
            for rule, shard in memories
        )

    def mixing_rate(self) -> Tensor | None:
        """Return that of the local memories, sigmoid(alpha_logit), which is furthest from 1/2."""
        if self.hierarchy.border != "m3" or not self.writes:
            return None
        rates = torch.sigmoid(at_least_float32(self.alpha_logit))
        return rates.take((rates - 0.5).abs().argmax())

    def recall(
        self, held: tuple[Held, ...], queries: Float[Tensor, "batch time heads key"]
    ) -> Float[Tensor, "batch time values"]:
        """Return the sum of what the memories that are held answer."""
        with torch.autocast(queries.device.type, enabled=False):
            asked = self.expand(queries).transpose(1, 2)
            each = [
                predict_with(rule.architecture, tuple(linked(rule.link, m) for m in one.weights), asked)
                for rule, one in zip(self.hierarchy.rules, held, strict=True)
            ]
            return torch.stack(each).sum(0).transpose(1, 2).flatten(-2)

    def _initialise_memory(self, generator: torch.Generator, std: float) -> None:
        for gates in self._gate_heads():
            gates.initialise(generator, std)
        for matrix in (matrix for start in self._parameters_of_starts() for matrix in start):
            matrix.normal_(std=self.config.initial_std, generator=generator)

    def _fresh(self, batch: int, like: Tensor) -> tuple[HierarchicalState, Projections]:
        config = self.config
        sizes = (config.omega_window, config.key_dim, self.features, config.value_dim)
        return fresh_hierarchical_state(self.hierarchy, self._starts(), batch, *sizes), ()

    def _gates(self, hidden: Float[Tensor, "batch time model"]) -> tuple[Gates, ...]:
        return tuple(gates(hidden) for gates in self._gate_heads())

    def _remember(
        self,
        heads: Heads,
        gates: tuple[Gates, ...],
        state: MemoryLayerState[HierarchicalState],
        timeline: Timeline,
        writes: bool,
        first: Weights | None,
        measured: bool,
    ) -> Remembered:
        del measured  # No Omega loss is made of several memories.
        assert first is None, "a hierarchy has no one M_0; the configuration refuses what would need it"
        if not self.writes:
            return self._read_starts(heads, state.memory, timeline.plan)
        found = hierarchical_chunked(
            self.hierarchy,
            heads.keys,
            heads.values,
            heads.queries,
            gates,
            self._starts(),
            state.memory,
            timeline.reset,
            features=self.expand,
            mixing=self._mixing(),
            writes=[writes and (number > 0 or self.config.hierarchy.global_writes) for number in range(len(gates))],
            kernels=self.kernels,
        )
        return Remembered(found.reads, found.state, (), None, each=found.each)

    def _read_starts(self, heads: Heads, state: HierarchicalState, plan: SegmentPlan) -> Remembered:
        """Read W_init of every memory, with queries as they are: the ablation, which remembers nothing."""
        queries = self.expand(heads.queries).transpose(1, 2)
        each = []
        for rule, start in zip(self.hierarchy.rules, self._starts(), strict=True):
            weights = tuple(linked(rule.link, matrix) for matrix in start)
            each.append(predict_with(rule.architecture, weights, queries).transpose(1, 2))
        after = replace(state, position=plan.seen(state.position))
        return Remembered(torch.stack(each).sum(0), after, (), None, each=tuple(each))

    def _mixing(self) -> list[Shards | None] | None:
        """Return what goes over the borders of each memory; the global one has none."""
        if self.hierarchy.border != "m3":
            return None
        warmup, rates = self.config.shards.warmup_crossings, at_least_float32(self.alpha_logit)
        lengths = self.hierarchy.shards[1:]
        return [None, *(Shards(s, warmup, a) if s else None for s, a in zip(lengths, rates.unbind(), strict=True))]

    def _starts(self) -> list[Weights]:
        """Return W_init of every memory, in float32 or wider."""
        return [tuple(at_least_float32(matrix) for matrix in start) for start in self._parameters_of_starts()]

    def _parameters_of_starts(self) -> list[nn.ParameterList]:
        return [start for start in self.initial if isinstance(start, nn.ParameterList)]

    def _gate_heads(self) -> list[GateHeads]:
        return [gates for gates in self.gates if isinstance(gates, GateHeads)]
