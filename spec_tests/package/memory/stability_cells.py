"""Hard inputs for one memory, many at once: each head is a cell of its own, with its keys, values, gates and precision.

    keys        repeated    one key throughout                 random      a fresh direction for each token
                twins       two keys 0.1 apart, in turn        cycle       an orthonormal basis, in turn
                long        random, of norm 4, as features may be
    values      fixed       a linear map of the key            fresh       a random one for each token
    gates       floor       all at their lower end             ceiling     all at their upper end, retention 1
                switching   each at either end, by chance      bursts      momentum 0, then its upper end, in bursts
    precision   fp32        as drawn                           bf16_io     inputs and outputs rounded to bfloat16

Values have norm sqrt(d_v), other keys norm 1. Switching lets a retention of 0, which forgets all, come rarely.
"""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from atlas_ref.memory.architecture import Weights
from atlas_ref.memory.chunked import memory_chunked
from atlas_ref.memory.kernels.choice import Kernels
from atlas_ref.memory.rules import ArchitectureName, Gates, MemoryRule, RuleName, StepScale
from atlas_ref.memory.state import MemoryState, fresh_memory_state

DIM, EXPANSION = 8, 2
MOMENTUM_MAX, STEP_MAX = 0.9, 1.0
CALLS = 8
STATE_BOUND = 100.0
"""Bound on M, S and reads, over the larger of ||M_0|| and ||v||. Solving for two keys 0.1 apart takes 14 of it, and a
step below one in d dimensions keeps noise below sqrt(d): an order of magnitude is left. Divergence is exponential."""
GRADIENT_BOUND = 1000.0
"""Bound on each input's gradient. A memory of slope one hands a cotangent on as it is, so at most sqrt(T) = 128 of the
unit cotangents of T = 16,384 tokens add up, times the size of an input or error, which is a few units."""


class Cell(NamedTuple):
    """The name of one head's inputs (module docstring)."""

    keys: str
    values: str
    gates: str
    precision: str


CELLS = tuple(
    Cell(*names)
    for names in product(
        ("repeated", "random", "twins", "cycle", "long"),
        ("fixed", "fresh"),
        ("floor", "ceiling", "switching", "bursts"),
        ("fp32", "bf16_io"),
    )
)


class Inputs(NamedTuple):
    """What one memory is fed [1, time, cells, ...]; `rounded` marks the cells whose outputs are rounded too."""

    keys: Tensor
    values: Tensor
    queries: Tensor
    gates: Gates
    initial: Weights
    rounded: Tensor


class Findings(NamedTuple):
    """The largest size in each cell [cells], infinite where anything was not finite.

    state:    norm of M, S (after each call) or a read, over the larger of ||M_0|| and ||v||
    gradient: norm of the gradient to one of the inputs, for a random cotangent of norm about 1
    """

    state: Tensor
    gradient: Tensor

    @property
    def finite(self) -> Tensor:
        """Which cells stayed finite."""
        return self.state.isfinite() & self.gradient.isfinite()

    @property
    def bounded(self) -> Tensor:
        """Which cells stayed within both bounds."""
        return (self.state <= STATE_BOUND) & (self.gradient <= GRADIENT_BOUND)


def make_rule(name: RuleName, architecture: ArchitectureName, step_scale: StepScale, chunk: int) -> MemoryRule:
    """Return a rule with everything else as in the presets."""
    return MemoryRule(
        architecture=architecture,
        name=name,
        chunk=chunk,
        boundary="carry",
        read="post",
        loss_scale=0.5,
        step_scale=step_scale,
        momentum_max=MOMENTUM_MAX,
        coefficients="quintic",
        newton_schulz_steps=5,
    )


def hard_inputs(cells: Sequence[Cell], architecture: ArchitectureName, time: int, window: int, seed: int) -> Inputs:
    """Return `time` tokens of every cell, in their order."""
    generator = torch.Generator().manual_seed(seed)
    keys = torch.stack([_keys(cell.keys, time, generator) for cell in cells], 1)
    gates = torch.stack([_gates(cell.gates, time, window, generator) for cell in cells], 1)
    fresh = torch.randn(time, len(cells), DIM, generator=generator)
    fixed = keys @ torch.randn(DIM, DIM, generator=generator)
    is_fixed = torch.tensor([cell.values == "fixed" for cell in cells]).unsqueeze(-1)
    values = normalize(torch.where(is_fixed, fixed, fresh), dim=-1) * DIM**0.5
    queries = normalize(torch.randn(keys.shape, generator=generator), dim=-1)
    queries[::3] = keys[::3]
    rounded = torch.tensor([cell.precision == "bf16_io" for cell in cells]).unsqueeze(-1)
    keys, values, queries, gates = (_rounded(x.unsqueeze(0), rounded) for x in (keys, values, queries, gates))
    initial = initial_memory(architecture, len(cells), generator)
    return Inputs(keys, values, queries, split_gates(gates), initial, rounded)


def initial_memory(architecture: ArchitectureName, heads: int, generator: torch.Generator) -> Weights:
    """Return M_0 of each head, with entries of spread 0.3: not small beside the values."""
    hidden = EXPANSION * DIM
    shapes = [(DIM, DIM)] if architecture == "matrix" else [(DIM, hidden), (hidden, DIM)]
    return tuple(0.3 * torch.randn(heads, *shape, generator=generator) for shape in shapes)


def split_gates(gates: Tensor) -> Gates:
    """Take [..., 3 + window] apart into retention, momentum, step and window."""
    return Gates(gates[..., 0], gates[..., 1], gates[..., 2], gates[..., 3:])


def _rounded(x: Tensor, rows: Tensor) -> Tensor:
    return torch.where(rows, x.bfloat16().float(), x)


def _keys(kind: str, time: int, generator: torch.Generator) -> Tensor:
    """Return keys [time, DIM]."""
    basis: Tensor = torch.linalg.qr(torch.randn(DIM, DIM, generator=generator)).Q
    if kind == "repeated":
        return basis[0].expand(time, DIM)
    if kind in ("random", "long"):
        return normalize(torch.randn(time, DIM, generator=generator), dim=-1) * (4.0 if kind == "long" else 1.0)
    if kind == "twins":
        basis = normalize(torch.stack([basis[0], basis[0] + 0.1 * basis[1]]), dim=-1)
    return basis[torch.arange(time) % len(basis)]


def _gates(kind: str, time: int, window: int, generator: torch.Generator) -> Tensor:
    """Return retention, momentum, step and window weights [time, 3 + window]."""
    top = torch.tensor([1.0, MOMENTUM_MAX, STEP_MAX, *[1.0] * window])
    if kind == "floor":
        return torch.zeros(time, len(top))
    gates = top.repeat(time, 1)
    if kind == "switching":
        gates *= torch.randint(2, gates.shape, generator=generator)
        gates[:, 0] = torch.rand(time, generator=generator) > 0.02
    if kind == "bursts":
        # Bursts of 1, 2, 3, ... tokens: every length meets every phase of a chunk.
        ends = torch.arange(1, time + 1).cumsum(0)
        gates[:, 1] *= torch.searchsorted(ends, torch.arange(time), right=True) % 2
    return gates


def run_cells(rule: MemoryRule, inputs: Inputs, seed: int, kernels: Kernels = "reference") -> Findings:
    """Run the chunked memory in CALLS calls that hand the state on, then backward through all of them."""
    leaves = [leaf.clone().requires_grad_() for leaf in (*inputs[:3], *inputs.gates[:4], *inputs.initial)]
    read, states = _run(rule, leaves, kernels)
    read = _rounded(read, inputs.rounded)
    sizes = torch.stack([read.detach().norm(dim=-1).amax((0, 1)), *(state_size(state) for state in states)])
    yardstick = torch.maximum(inputs.values.norm(dim=-1).amax((0, 1)), _norm(inputs.initial))
    # `delta` has no momentum, so its momentum gate has no gradient.
    found = torch.autograd.grad(_projection(read, states[-1], seed), leaves, allow_unused=True, materialize_grads=True)
    sequences = len(leaves) - len(inputs.initial)
    by_head = [*map(_by_head, found[:sequences]), *(gradient.flatten(1) for gradient in found[sequences:])]
    norms = torch.stack([gradient.norm(dim=-1) for gradient in by_head])
    return Findings(*(x.nan_to_num(torch.inf, torch.inf).amax(0) for x in (sizes / yardstick, norms)))


def _run(rule: MemoryRule, leaves: Sequence[Tensor], kernels: Kernels) -> tuple[Tensor, list[MemoryState]]:
    """Return all reads and the state after each call; `leaves` are the fields of Inputs in a row."""
    keys, values, queries, retention, momentum, step, window, *weights = leaves
    initial = tuple(weights)
    state = fresh_memory_state(initial, 1, window.shape[-1], DIM, DIM)
    reads, states = [], []
    parts = [x.tensor_split(CALLS, dim=1) for x in (keys, values, queries, retention, momentum, step, window)]
    for k, v, q, *gates in zip(*parts, strict=True):
        output = memory_chunked(rule, k, v, q, Gates(*gates), initial, state, None, kernels=kernels)
        state = output.state
        reads.append(output.reads)
        states.append(state)
    return torch.cat(reads, 1), states


def _projection(read: Tensor, state: MemoryState, seed: int) -> Tensor:
    """Return a random linear function of reads, M and S whose gradient to each has norm about 1 in each head."""
    generator = torch.Generator().manual_seed(seed)
    parts = [_by_head(read), *(matrix[0].flatten(1) for matrix in (*state.weights, *state.momentum))]
    terms = [(x * torch.randn(x.shape, generator=generator).to(x)).sum() / x.shape[-1] ** 0.5 for x in parts]
    return torch.stack(terms).sum()


def _by_head(x: Tensor) -> Tensor:
    """Return [1, time, heads, ...] as [heads, everything]."""
    return x[0].transpose(0, 1).flatten(1)


def _norm(matrices: Weights) -> Tensor:
    """Return the norm of all matrices of a head together."""
    return torch.stack([m.square().sum((-2, -1)) for m in matrices]).sum(0).sqrt()


def state_size(state: MemoryState) -> Tensor:
    """Return the larger of ||M|| and ||S|| of each head."""
    return torch.maximum(_norm(state.weights), _norm(state.momentum)).detach()[0]
