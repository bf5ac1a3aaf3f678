"""What one pass over pairs leaves in a matrix memory: the setting of the tables of `one_pass_tables`.

Pairs (k_i, v_i) are written once each, in order, from an empty memory, and then every key is read. The figure is the
squared error of what is read over the energy of what was written, for the best *constant* step of a grid: so no rule
is judged by a step that was tuned for another. Float64, ten seeds.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from atlas_ref.memory.chunked import memory_chunked
from atlas_ref.memory.rules import Gates, MemoryRule
from atlas_ref.memory.state import fresh_memory_state

STEPS = tuple(2.0 ** (power / 2) for power in range(-32, 7))
"""The grid of constant steps: 2^-16 to 8, a factor of root 2 apart. Each is a head, so one call tries them all."""

PLAIN = MemoryRule(
    architecture="matrix",
    name="omega",
    chunk=1,
    boundary="carry",
    read="post",
    loss_scale=0.5,
    step_scale="literal",
    momentum_max=0.5,
    coefficients="quintic",
    newton_schulz_steps=5,
)
"""A gradient step a pair, at the memory before it: the rules of the tables are this one with few fields changed."""


@dataclass(frozen=True)
class Pairs:
    """Unit keys and their values, [seeds, pairs, dim]; `clean` marks the pairs whose recall counts."""

    keys: Tensor
    values: Tensor
    written: Tensor
    clean: Tensor


def draw(pairs: int, dim: int, seeds: int, outliers: float = 0.0, noise: float = 0.0) -> Pairs:
    """Return random unit keys and values; a share of `outliers` is written 50-fold, and all with Gaussian `noise`."""
    generator = torch.Generator().manual_seed(pairs)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    keys, values = (torch.nn.functional.normalize(normal(seeds, pairs, dim), dim=-1) for _ in range(2))
    wild = torch.rand(seeds, pairs, generator=generator) < outliers
    written = torch.where(wild.unsqueeze(-1), 50.0 * values, values) + noise * normal(seeds, pairs, dim) / dim**0.5
    return Pairs(keys, values, written, ~wild)


def recalled(rule: MemoryRule, pairs: Pairs, window: int = 1, threshold: float = 1.0) -> Tensor:
    """Return what is read at every key after the pass, for every step of the grid: [steps, seeds, pairs, values]."""
    seeds, time, features = pairs.keys.shape
    heads, values = len(STEPS), pairs.written.shape[-1]

    def each_step(x: Tensor) -> Tensor:
        return x.unsqueeze(2).expand(-1, -1, heads, -1)

    gate = torch.ones(seeds, time, heads, dtype=torch.float64)
    steps = torch.tensor(STEPS, dtype=torch.float64).expand_as(gate)
    gates = Gates(gate, 0.0 * gate, steps, gate.unsqueeze(-1).expand(-1, -1, -1, window), threshold * gate)
    empty = (torch.zeros(heads, values, features, dtype=torch.float64),)
    state = fresh_memory_state(empty, seeds, window, features, values)
    keys = each_step(pairs.keys)
    with torch.no_grad():
        after = memory_chunked(rule, keys, each_step(pairs.written), keys, gates, empty, state, None).state
        # A reader that writes nothing: the last memory, asked for every key.
        read = memory_chunked(rule, keys, each_step(pairs.written), keys, gates, empty, after, None, writes=False).reads
    return read.movedim(2, 0)


def residual(reads: Tensor, pairs: Pairs) -> float:
    """Return the least mean over seeds, over the steps of the grid, of the clean pairs' squared error by energy."""
    error = (reads - pairs.values).square().sum(-1)
    missed = torch.where(pairs.clean, error, 0.0).sum(-1) / pairs.clean.sum(-1)
    return float(missed.mean(-1).nan_to_num(nan=torch.inf).min())
