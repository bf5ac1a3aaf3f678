"""The published models on the hard inputs of `stability_cells`: the memory of a preset, with gates at its own ends.

What a preset makes a constant is that constant here; a step is at either end of what its gate can reach, thresholds go
with the steps, and of a gate for each row or column every second one follows its cell while the others keep all.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from atlas_ref.blocks.fast_memory import FastMemory, Start, Tokens
from atlas_ref.config.memory import MemoryConfig
from atlas_ref.memory.layout import make_plan
from atlas_ref.memory.rules import Gates
from spec_tests.package.memory.stability_cells import (
    CALLS,
    DIM,
    EXPANSION,
    GRADIENT_BOUND,
    STATE_BOUND,
    Cell,
    hard_inputs,
)

MAMBA_RATE = 0.1
"""a of exp(-a step)."""
RIDGE = 0.25
"""The least Lambda that the network can make."""


@dataclass(frozen=True)
class Outcome:
    """The largest sizes in each cell [cells], infinite where anything was not finite.

    state:    of M after a call, or of a read, over the larger of ||M_0|| and ||v||
    gradient: of the gradient to any input for a random cotangent of norm about 1
    growth:   of M after a call, over ||M_0|| + sum ||v|| ||k||: what a memory that only adds may reach, and no more
    """

    state: Tensor
    gradient: Tensor
    growth: Tensor

    @property
    def finite(self) -> Tensor:
        """Which cells stayed finite."""
        return self.state.isfinite() & self.gradient.isfinite()

    @property
    def bounded(self) -> Tensor:
        """Which cells stayed within both bounds."""
        return (self.state <= STATE_BOUND) & (self.gradient <= GRADIENT_BOUND)


def small(config: MemoryConfig) -> MemoryConfig:
    """Return the memory of a preset at the sizes of the hard inputs, which are features already."""
    features = config.features.model_copy(update={"degree": 1, "basis": "monomial_weighted"})
    sizes = {"key_dim": DIM, "value_dim": DIM, "expansion": EXPANSION, "features": features}
    return config.model_copy(update=sizes)


def run_model(preset: MemoryConfig, cells: tuple[Cell, ...], time: int, seed: int) -> Outcome:
    """Run the memory over `time` tokens of each cell in CALLS calls that hand the state on, then backward."""
    config = small(preset)
    inputs = hard_inputs(cells, "matrix", time, config.omega_window, seed)
    generator = torch.Generator().manual_seed(seed)
    initial = [0.3 * torch.randn(len(cells), *shape, generator=generator) for shape in config.matrices()]
    sequences = [inputs.keys, inputs.values, inputs.queries, *_ends(config, inputs.gates)]
    leaves = [leaf.clone().requires_grad_() for leaf in (*sequences, *initial)]
    reads, states = _run(config, leaves, len(sequences))
    norms = torch.stack([_size(state) for state in states])
    sizes = torch.stack([reads.detach()[0].norm(dim=-1).amax(0), *norms])
    loss = _by_head(reads).mul(torch.randn(_by_head(reads).shape, generator=generator)).sum() / time**0.5
    found = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
    heads = [_by_head(gradient) for gradient in found[: len(sequences)]]
    heads += [gradient.flatten(1) for gradient in found[len(sequences) :]]
    state, gradient = (
        x.nan_to_num(torch.inf, torch.inf).amax(0) for x in (sizes, torch.stack([g.norm(dim=-1) for g in heads]))
    )
    written = norms.nan_to_num(torch.inf, torch.inf).amax(0)
    values = inputs.values.norm(dim=-1)
    start = _size(tuple(matrix.unsqueeze(0) for matrix in initial)) if initial else torch.zeros(len(cells))
    added = (values * inputs.keys.norm(dim=-1)).sum((0, 1)) + start
    return Outcome(state / torch.maximum(values.amax((0, 1)), start), gradient, written / added)


def _ends(config: MemoryConfig, gates: Gates) -> list[Tensor]:
    """Return retention, momentum, step, window weights and thresholds at the ends that the preset's gates have."""
    kinds, ones = config.gates, torch.ones_like(gates.step)
    step = gates.step * kinds.step_max if kinds.step_kind == "learned" else ones
    retention = {
        "learned": gates.retention,
        "one": ones,
        "retnet": ones * (1.0 - 2.0**-5),
        "mamba2": torch.exp(-MAMBA_RATE * step),
    }[kinds.retention_kind]
    if config.gate_axis != "head":
        follows = torch.arange(DIM) % 2 == 0
        retention = torch.where(follows, retention.unsqueeze(-1), 1.0)
    momentum = gates.momentum if kinds.momentum_kind == "learned" else 0.0 * ones
    window = gates.window if kinds.window_kind == "learned" else torch.ones_like(gates.window)
    return [retention, momentum, step, window, gates.step * config.bias.threshold_init]


def _run(config: MemoryConfig, leaves: list[Tensor], sequences: int) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
    """Return all reads, and what is written after each call."""
    memory, initial = FastMemory(config, DIM), tuple(leaves[sequences:])
    heads = leaves[0].shape[2]
    ridge = leaves[0].new_full((heads, DIM), RIDGE) if config.algorithm == "ridge" else None
    start = Start(initial, ridge, None)
    state = memory.fresh(start, 1, leaves[0])
    reads, written = [], []
    parts = [x.tensor_split(CALLS, dim=1) for x in leaves[:sequences]]
    for k, v, q, *gates in zip(*parts, strict=True):
        plan = make_plan(state.position, None, k.shape[1], config.chunk)
        output = memory.run(Tokens(k, v, q, Gates(*gates), None, plan), start, state, writes=True)
        state = output.state
        reads.append(output.reads)
        written.append(state.weights if ridge is None else _solution(state.weights, ridge))
    return torch.cat(reads, 1), written


def _solution(moments: tuple[Tensor, ...], ridge: Tensor) -> tuple[Tensor, ...]:
    """Return the memory of `ridge`, G (H + Lambda)^{-1}, of which its moments grow with what they sum."""
    cross, gram = (moment.detach().double() for moment in moments)
    return (torch.linalg.solve(gram + torch.diag_embed(ridge), cross, left=False).float(),)


def _size(matrices: tuple[Tensor, ...]) -> Tensor:
    """Return the norm of all matrices of a head together."""
    return torch.stack([m.detach()[0].square().sum((-2, -1)) for m in matrices]).sum(0).sqrt()


def _by_head(x: Tensor) -> Tensor:
    """Return [1, time, heads, ...] as [heads, everything]."""
    return x[0].transpose(0, 1).flatten(1)
