"""The fast weights of a layer: from a configuration to their rule, their first state, and the form that runs them.

Every memory has one protocol: keys, values, queries and gates go in with a state, reads come out with the next one.
What runs is the chunked form of `atlas_ref.memory`, or the solve of `ridge`, which keeps two moments instead of M.
"""

from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from atlas_ref.config.memory import MemoryConfig
from atlas_ref.memory.architecture import Weights, predict_with
from atlas_ref.memory.bias import Bias
from atlas_ref.memory.chunked import memory_chunked
from atlas_ref.memory.kernels.choice import Kernels
from atlas_ref.memory.link import Link, linked
from atlas_ref.memory.plan import SegmentPlan
from atlas_ref.memory.recurrent import MemoryOutput
from atlas_ref.memory.ridge import RidgeState, fresh_ridge_state, ridge_scan
from atlas_ref.memory.rules import Gates, MemoryRule
from atlas_ref.memory.shards import Shards
from atlas_ref.memory.state import MemoryState, fresh_memory_state


class Tokens(NamedTuple):
    """What a call shows a memory: features of keys and queries, values, gates, beginnings of documents, the layout."""

    keys: Float[Tensor, "batch time heads features"]
    values: Float[Tensor, "batch time heads values"]
    queries: Float[Tensor, "batch time heads features"]
    gates: Gates
    reset: Bool[Tensor, "batch time"] | None
    plan: SegmentPlan


class Start(NamedTuple):
    """What a memory starts from: M_0, or for `ridge` Lambda instead; and what goes over the border of a shard."""

    initial: Weights
    ridge: Float[Tensor, "heads features"] | None
    shards: Shards | None


def memory_rule(config: MemoryConfig) -> MemoryRule:
    """Return the semantics of reads and writes that `config` names; `ridge` has another, which no rule says."""
    gates, bias, link = config.gates, config.bias, config.link
    return MemoryRule(
        architecture=config.architecture,
        name=config.rule,
        chunk=config.chunk,
        boundary=config.window_boundary,
        read=config.read,
        loss_scale=0.5 if config.loss_scale == "half" else 1.0,
        step_scale=config.step_scale,
        # The horizon of `mass` is that of the momentum that there is.
        momentum_max=gates.momentum_max if gates.momentum_kind == "learned" else 0.0,
        coefficients=config.newton_schulz.coefficients,
        newton_schulz_steps=config.newton_schulz.steps,
        update_every=config.ttl_update_frequency,
        bias=Bias(bias.kind, bias.exponent, bias.smoothing),
        link=Link(link.kind, link.exponent, link.scale, link.level),
        retention=config.retention,
        error_at=config.error_at,
        gate_axis=config.gate_axis,
        algorithm="implicit" if config.algorithm == "implicit" else "gd",
        step_chunk=config.step_chunk,
    )


class FastMemory:
    """The memory that a configuration names, without parameters or state of its own (module docstring).

    `kernels` says which form of it runs.
    """

    def __init__(self, config: MemoryConfig, features: int, kernels: Kernels = "auto") -> None:
        self.config, self.features, self.value_dim = config, features, config.value_dim
        self.rule, self.kernels = memory_rule(config), kernels

    def fresh(self, start: Start, batch: int, like: Tensor) -> MemoryState:
        """Return the state of `batch` rows before their first token, with the dtype and device of `like`.

        That of `ridge` has its two moments in the place of M: sum v k^T [values, features] and sum k k^T.
        """
        config, every = self.config, self.config.ttl_update_frequency
        if start.ridge is None:
            return fresh_memory_state(start.initial, batch, config.omega_window, self.features, self.value_dim, every)
        heads = len(start.ridge)
        moments = fresh_ridge_state(batch, heads, self.features, self.value_dim, like)
        return MemoryState(
            weights=(moments.cross, moments.gram),
            momentum=(),
            anchor=(),
            window_keys=like.new_zeros(batch, 0, heads, self.features),
            window_values=like.new_zeros(batch, 0, heads, self.value_dim),
            position=moments.position,
        )

    def run(
        self, tokens: Tokens, start: Start, state: MemoryState, writes: bool, measured: bool = True
    ) -> MemoryOutput:
        """Write and read every token; without `writes` (the warm-up) what the state holds is read."""
        keys, values, queries, gates, reset, plan = tokens
        if start.ridge is not None:
            return self._solve(tokens, start.ridge, state, writes)
        return memory_chunked(
            self.rule,
            keys,
            values,
            queries,
            gates,
            start.initial,
            state,
            reset,
            plan,
            writes=writes,
            measured=measured,
            shards=start.shards,
            kernels=self.kernels,
        )

    def _solve(self, tokens: Tokens, ridge: Tensor, state: MemoryState, writes: bool) -> MemoryOutput:
        """Return the reads of `ridge`; a token that writes nothing keeps the moments as they are."""
        keys, values, queries, gates, reset, _ = tokens
        retention, step = gates.retention, gates.step
        if not writes:
            retention, step = torch.ones_like(retention), torch.zeros_like(step)
        cross, gram = state.weights
        moments = RidgeState(cross, gram, state.position)
        reads, after = ridge_scan(keys, values, queries, retention, step, ridge, reset, moments)
        return MemoryOutput(reads, replace(state, weights=(after.cross, after.gram), position=after.position))

    def recall(
        self, weights: Weights, queries: Float[Tensor, "batch time heads features"], start: Start
    ) -> Float[Tensor, "batch time heads values"]:
        """Return what a memory with these weights answers to queries; `ridge` solves with its moments as they are."""
        asked = queries.transpose(1, 2)
        if start.ridge is not None:
            cross, gram = weights
            factor, failed = torch.linalg.cholesky_ex(gram + torch.diag_embed(start.ridge))
            factor = torch.where((failed > 0)[..., None, None], torch.nan, factor)
            return (cross @ torch.cholesky_solve(asked.mT, factor)).mT.transpose(1, 2)
        seen = tuple(linked(self.rule.link, matrix) for matrix in weights)
        return predict_with(self.rule.architecture, seen, asked).transpose(1, 2)

    def read(
        self, tokens: Tokens, start: Start, state: MemoryState, writes: bool, measured: bool = True
    ) -> MemoryOutput:
        """Read M_0 for ever, which is the ablation; the memory of `ridge` starts as zero."""
        del writes, measured
        after = replace(state, position=tokens.plan.seen(state.position))
        if start.ridge is not None:
            return MemoryOutput(torch.zeros_like(tokens.values), after)
        weights = tuple(linked(self.rule.link, matrix) for matrix in start.initial)
        queries = tokens.queries.transpose(1, 2)
        return MemoryOutput(predict_with(self.rule.architecture, weights, queries).transpose(1, 2), after)
