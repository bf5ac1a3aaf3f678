"""Hierarchies of memories and calls of them: drawn inputs, both forms, outputs, states and gradients."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from atlas_ref.memory.hierarchical import (
    HierarchicalOutput,
    HierarchicalState,
    Hierarchy,
    fresh_hierarchical_state,
    hierarchical_chunked,
    memory_hierarchical,
)
from atlas_ref.memory.rules import Gates, MemoryRule
from atlas_ref.memory.shards import Shards
from spec_tests.package.memory.hierarchy_loop import Inputs, Setting

HEADS, KEYS, VALUES = 2, 4, 3
PLAIN = MemoryRule("matrix", "titans", 1, "carry", "post", 0.5, "literal", 0.9, "quintic", 5)
Form = Callable[..., HierarchicalOutput]
FORMS: dict[str, Form] = {"recurrent": memory_hierarchical, "chunked": hierarchical_chunked}


def hierarchy(chunks: Sequence[int], shards: Sequence[int], span: Any = "shard", **changes: Any) -> Hierarchy:
    """Return memories of one rule, the first of them global."""
    rules = tuple(
        replace(PLAIN, chunk=chunk, read="post" if m else "anchor", **changes) for m, chunk in enumerate(chunks)
    )
    return Hierarchy(rules, tuple(shards), span)


def hierarchy_of(setting: Setting) -> Hierarchy:
    """Return the hierarchy that the numpy loop runs."""
    scale = "mass" if setting.mass else "literal"
    changes = {"name": setting.rule, "boundary": setting.boundary, "step_scale": scale}
    return replace(hierarchy(setting.chunks, setting.shards, setting.span, **changes), border=setting.border)


def drawn(
    memories: int, time: int, *, batch: int = 2, window: int = 2, seed: int = 0, resets: bool = True, hidden: int = 0
) -> Inputs:
    """Return inputs of a call: momenta, gates and initial states that differ for every memory, documents of 9 or so."""
    random = np.random.default_rng(seed)
    shape = (batch, time, memories, HEADS)
    return {
        "keys": random.normal(size=(batch, time, HEADS, KEYS)),
        "values": random.normal(size=(batch, time, HEADS, VALUES)),
        "queries": random.normal(size=(batch, time, HEADS, KEYS)),
        "retention": random.uniform(0.8, 1.0, shape),
        "momentum": random.uniform(0.2, 0.6, shape),
        "step": random.uniform(0.05, 0.15, shape),
        "window": random.uniform(0.2, 1.0, (*shape, window)),
        "initial": random.normal(size=(memories, HEADS, VALUES, KEYS)) * 0.4,
        "inner": random.normal(size=(memories, HEADS, hidden, KEYS)) * 0.4,
        "outer": random.normal(size=(memories, HEADS, VALUES, hidden)) * 0.4,
        "reset": (random.random((batch, time)) < 0.11) & resets,
    }


def initial_of(setting: Hierarchy, leaves: dict[str, Tensor]) -> list[tuple[Tensor, ...]]:
    """Return W_init of every memory."""
    names = ("initial",) if setting.rules[0].architecture == "matrix" else ("outer", "inner")
    return [tuple(leaves[name][m] for name in names) for m in range(len(setting.rules))]


class Call(NamedTuple):
    """What the forms are given; `leaves` are what gradients are asked for."""

    hierarchy: Hierarchy
    leaves: dict[str, Tensor]
    reset: Tensor
    state: HierarchicalState

    def gates(self, tokens: slice = slice(None)) -> list[Gates]:
        """Return those of every memory."""
        names = ("retention", "momentum", "step", "window")
        parts = [[x[:, tokens, m] for x in (self.leaves[n] for n in names)] for m in range(len(self.hierarchy.rules))]
        return [Gates(*part) for part in parts]

    def inherited(self) -> list[Shards | None] | None:
        """Return what goes over the borders of each memory under `m3`: a ramp of two crossings, then a logit of 0.8."""
        if self.hierarchy.border == "reset":
            return None
        return [Shards(s, 2, torch.tensor(0.8, dtype=torch.float64)) if s else None for s in self.hierarchy.shards]

    def run(
        self, form: Form, state: HierarchicalState | None = None, tokens: slice = slice(None)
    ) -> HierarchicalOutput:
        """Return what a form makes of some tokens, from a state, that of the call by default."""
        x = [self.leaves[name][:, tokens] for name in ("keys", "values", "queries")]
        before, initial = self.state if state is None else state, initial_of(self.hierarchy, self.leaves)
        reset, mixing = self.reset[:, tokens], self.inherited()
        return form(self.hierarchy, *x, self.gates(tokens), initial, before, reset, mixing=mixing)


def call_of(setting: Hierarchy, inputs: Inputs) -> Call:
    """Return a call from a fresh start, in float64."""
    leaves = {
        name: torch.tensor(x, dtype=torch.float64, requires_grad=True) for name, x in inputs.items() if name != "reset"
    }
    batch, window = len(inputs["keys"]), inputs["window"].shape[-1]
    state = fresh_hierarchical_state(setting, initial_of(setting, leaves), batch, window, KEYS, KEYS, VALUES)
    return Call(setting, leaves, torch.tensor(inputs["reset"]), state)


def entered(call: Call, inputs: Inputs, tokens: int) -> Call:
    """Return the call from what the first `tokens` of other inputs leave, which gradients are asked for too."""
    same = {name: call.leaves[name].detach().numpy() for name in ("initial", "inner", "outer")}
    earlier = call_of(call.hierarchy, {**inputs, **same})
    state = earlier.run(memory_hierarchical, tokens=slice(tokens)).state.detach()
    return call._replace(state=state.map(lambda x: x.requires_grad_() if x.is_floating_point() else x))


def tensors_of(output: HierarchicalOutput) -> dict[str, Tensor]:
    """Return the reads and every tensor of the state."""
    return {"reads": output.reads, **output.state.to_tensors()}


def gradients(call: Call, output: HierarchicalOutput, seed: int = 5) -> dict[str, Tensor]:
    """Return the gradients, with respect to all leaves and the state, of all that is returned under random weights."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros((), dtype=torch.float64)
    for tensor in tensors_of(output).values():
        if tensor.is_floating_point():
            total = total + (tensor * torch.randn(tensor.shape, generator=generator, dtype=torch.float64)).sum()
    asked = {**call.leaves, **{n: x for n, x in call.state.to_tensors().items() if x.requires_grad}}
    found = torch.autograd.grad(total, list(asked.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(asked, found, strict=True))
