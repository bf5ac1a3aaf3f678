"""A search for the inputs that make the memory grow most, with step_scale `mass`.

All that a sequence holds is free within its range: gates by sigmoids, keys of norm 1, values of norm sqrt(d_v). Adam
climbs the gradient of log ||M_T|| from many random starts at once, one a head.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from atlas_ref.memory.architecture import Weights
from atlas_ref.memory.chunked import memory_chunked
from atlas_ref.memory.rules import ArchitectureName, MemoryRule, RuleName
from atlas_ref.memory.state import fresh_memory_state
from spec_tests.package.memory.stability_cells import (
    DIM,
    MOMENTUM_MAX,
    STEP_MAX,
    initial_memory,
    make_rule,
    split_gates,
    state_size,
)

TIME, STARTS, CLIMBS, REPEATS = 48, 16, 60, 32


@dataclass(frozen=True)
class Attack:
    """Largest size over all starts: before the search, after it, and when its sequence is repeated."""

    rule: RuleName
    architecture: ArchitectureName
    chunk: int
    start: float
    best: float
    repeated: float


def attack(rule_name: RuleName, architecture: ArchitectureName, chunk: int, seed: int) -> Attack:
    """Search for one memory, with windows of one token."""
    torch.set_num_threads(1)
    rule = make_rule(rule_name, architecture, "mass", chunk)
    generator = torch.Generator().manual_seed(seed)
    initial = initial_memory(architecture, STARTS, generator)
    # Retention starts near 1: what is forgotten cannot grow.
    centre = torch.tensor([5.0, 0.0, 0.0, 0.0])
    gates = (centre + 3.0 * torch.randn(1, TIME, STARTS, 4, generator=generator)).requires_grad_()
    keys, values = (torch.randn(1, TIME, STARTS, DIM, generator=generator).requires_grad_() for _ in range(2))
    optimiser = torch.optim.Adam([gates, keys, values], lr=0.3)
    start = best = _sizes(rule, gates, keys, values, initial).detach()
    for _ in range(CLIMBS):
        optimiser.zero_grad()
        sizes = _sizes(rule, gates, keys, values, initial)
        best = torch.maximum(best, sizes.detach())
        torch.autograd.backward(-sizes.log().sum())
        optimiser.step()
    with torch.no_grad():
        long_gates, long_keys, long_values = (x.repeat(1, REPEATS, 1, 1) for x in (gates, keys, values))
        again = _sizes(rule, long_gates, long_keys, long_values, initial)
    return Attack(rule_name, architecture, chunk, *(size.max().item() for size in (start, best, again)))


def _sizes(rule: MemoryRule, gates: Tensor, keys: Tensor, values: Tensor, initial: Weights) -> Tensor:
    """Return ||M_T|| over max(||M_0||, ||v||) of each head."""
    top = torch.tensor([1.0, MOMENTUM_MAX, STEP_MAX, 1.0])
    keys, values = normalize(keys, dim=-1), normalize(values, dim=-1) * DIM**0.5
    state = fresh_memory_state(initial, 1, 1, DIM, DIM)
    yardstick = state_size(state).clamp(min=DIM**0.5)
    final = memory_chunked(rule, keys, values, keys, split_gates(top * gates.sigmoid()), initial, state, None).state
    squares = torch.stack([matrix[0].square().sum((-2, -1)) for matrix in final.weights])
    return squares.sum(0).clamp(min=1e-12).sqrt() / yardstick
