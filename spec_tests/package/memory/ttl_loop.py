"""Memories that are written every N tokens, from some token on, and restarted at shard borders: a numpy loop and cases.

`Loop` is that of the chapter `memory_step` with what the schedule changes, written down literally: losses wait in a
list until they are written, and a border is looked for at every token. Nothing comes from `atlas_ref`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from atlas_ref.memory.chunked import memory_chunked
from atlas_ref.memory.recurrent import MemoryOutput, memory_recurrent
from atlas_ref.memory.rules import Gates, MemoryRule
from atlas_ref.memory.shards import Shards
from atlas_ref.memory.state import MemoryState
from spec_tests.chapters.memory_step.calls import HEADS, ORTHOGONALISED, case, fresh, rule
from spec_tests.chapters.memory_step.loop import Cell, Config, Inputs, Matrices, Oracle, Token
from spec_tests.drawing.inputs import generator
from spec_tests.port import Array
from spec_tests.ports.reference.memory import memory_rule, unpack

CHUNK = 4


class Schedule(NamedTuple):
    """What is tested beside a rule: N, the length of a shard, the ramp of its mixing rate and the learned rate."""

    every: int = 1
    shard: int = 0
    warmup: int = 2
    logit: float = 0.8
    silent: int = 0
    """tokens of the call that belong to the warm-up, of the loop only"""


@dataclass
class WaitingCell(Cell):
    """A cell with the losses that wait to be written: for each token its (weight, key, value) by age."""

    waiting: list[list[tuple[float, Array, Array]]] = field(default_factory=list)
    taken: int = 0


class Loop(Oracle):
    """The loop under a schedule (module docstring)."""

    def __init__(self, config: Config, schedule: Schedule) -> None:
        super().__init__(config)
        self.schedule = schedule

    def load(self, inputs: Inputs, row: int, head: int) -> Cell:
        return WaitingCell(**vars(super().load(inputs, row, head)))

    def begin(self, cell: Cell, initial: Matrices) -> None:
        assert isinstance(cell, WaitingCell)
        super().begin(cell, initial)
        cell.waiting = []

    def enter(self, cell: Cell, token: Token, initial: Matrices) -> None:
        length = self.schedule.shard
        if length and not self.begins(cell, token) and cell.position % length == 0:
            rate = self.mixing_rate(cell.position // length - 1)
            cell.weights = [matrix.copy() for matrix in initial]
            cell.momentum = [rate * matrix for matrix in cell.momentum]
        super().enter(cell, token, initial)

    def mixing_rate(self, crossings: int) -> float:
        """Return a: a ramp by crossings, then the learned rate."""
        if crossings < self.schedule.warmup:
            return 0.1 + 0.4 * crossings / self.schedule.warmup
        return float(1.0 / (1.0 + np.exp(-self.schedule.logit)))

    def horizon(self) -> float:
        return self.schedule.every * super().horizon()

    def write(self, cell: Cell, token: Token, gradient: Matrices) -> None:
        assert isinstance(cell, WaitingCell)
        cell.taken += 1
        silent = cell.taken <= self.schedule.silent
        pairs = [(self.gamma(cell, token, age), *cell.window[-1 - age]) for age in self.ages(cell, token)]
        cell.waiting.append([] if silent else pairs)
        if (cell.position + 1) % self.schedule.every:
            return
        total = [np.zeros_like(matrix) for matrix in gradient]
        for weight, key, value in (pair for losses in cell.waiting for pair in losses):
            total = [g + weight * part for g, part in zip(total, self.pair_gradient(cell, key, value), strict=True)]
        cell.waiting = []
        if not silent:
            super().write(cell, token, total)


def scheduled_case(
    name: str, architecture: str, schedule: Schedule, *, time: int = 25, seed: int = 1, **changes: Any
) -> tuple[dict[str, Any], dict[str, Array], Array]:
    """Return configuration, inputs and waiting weights: three rows out of phase, the first at its very start."""
    config = rule(name, architecture, chunk=CHUNK, **changes)
    short = name in ORTHOGONALISED and architecture == "mlp"
    window = 1 if name == "delta" else 3
    length = window + schedule.every - 1
    inputs = case(config, batch=3, time=time, window=length, seed=seed, document=8 if short else 14)
    inputs["window_weights"] = inputs["window_weights"][..., :window]
    shape = (3, schedule.every - 1, HEADS, window)
    waiting = generator(seed + 9).uniform(0.1, 1.0, shape) / schedule.every
    live = np.arange(schedule.every - 1, 0, -1) <= (inputs["position"] % schedule.every)[:, None]
    return config, inputs, np.where(live[:, :, None, None], waiting, 0.0)


def from_the_start(inputs: dict[str, Array]) -> dict[str, Array]:
    """Return the call at the start of every document; rows fall out of phase at their first reset."""
    begun = fresh(inputs)
    return begun | {"window_keys": 0 * begun["window_keys"]}


class Call(NamedTuple):
    """A call of either form: leaves are what gradients are asked for."""

    rule: MemoryRule
    leaves: dict[str, Tensor]
    state: MemoryState
    initial: tuple[Tensor, ...]
    reset: Tensor
    shards: Shards | None


def make_call(config: Config, inputs: Inputs, waiting: Array, schedule: Schedule) -> Call:
    """Return a call in float64, with a leaf for every input that is a number."""
    leaves = {name: torch.tensor(value).requires_grad_() for name, value in inputs.items() if value.dtype.kind == "f"}
    leaves["waiting"] = torch.tensor(waiting).requires_grad_()
    leaves["alpha_logit"] = torch.tensor(schedule.logit, dtype=torch.float64).requires_grad_()
    named = memory_rule({**config, "update_every": schedule.every})

    def matrices(packed: str) -> tuple[Tensor, ...]:
        return unpack(named.architecture, leaves[packed], inputs["keys"].shape[-1], inputs["values"].shape[-1])

    state = MemoryState(
        matrices("weights"),
        matrices("momentum"),
        matrices("anchor"),
        leaves["window_keys"],
        leaves["window_values"],
        torch.tensor(inputs["position"]),
        (leaves["waiting"],) if schedule.every > 1 else (),
    )
    shards = Shards(schedule.shard, schedule.warmup, leaves["alpha_logit"]) if schedule.shard else None
    return Call(named, leaves, state, matrices("initial"), torch.tensor(inputs["reset"]).bool(), shards)


def run_call(call: Call, part: slice, state: MemoryState, *, chunked: bool, writes: bool = True) -> MemoryOutput:
    """Run the tokens of `part` from `state`."""
    x = {name: call.leaves[name][:, part] for name in ("keys", "values", "queries")}
    names = ("retention", "momentum_decay", "step_size", "window_weights")
    gates = Gates(*(call.leaves[name][:, part] for name in names))
    form = memory_chunked if chunked else memory_recurrent
    output: MemoryOutput = form(
        call.rule,
        x["keys"],
        x["values"],
        x["queries"],
        gates,
        call.initial,
        state,
        call.reset[:, part],
        writes=writes,
        shards=call.shards,
    )
    return output


def outcome(call: Call, cuts: Sequence[int] = (), *, chunked: bool, silent: int = 0) -> dict[str, Tensor]:
    """Return reads and state of a call, cut at `cuts`; the first `silent` tokens are a part that is not written."""
    time = call.reset.shape[1]
    edges = [0, *sorted({*cuts, silent} - {0, time}), time]
    reads, state = [], call.state
    for i, start in enumerate(edges[:-1]):
        part = slice(start, edges[i + 1])
        output = run_call(call, part, state, chunked=chunked, writes=start >= silent)
        reads.append(output.reads)
        state = output.state
    return {"reads": torch.cat(reads, 1), **state.to_tensors()}


def loop_outcome(config: Config, inputs: Inputs, schedule: Schedule) -> dict[str, Array]:
    """Return the reads and matrices of the numpy loop."""
    return Loop(config, schedule).run(inputs)


def gradients(call: Call, found: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Return the gradient of every leaf for random cotangents of all that came out."""
    rng = generator(seed)
    asked = {n: torch.tensor(rng.standard_normal(x.shape)) for n, x in sorted(found.items()) if x.is_floating_point()}
    total = torch.stack([(found[name] * cotangent).sum() for name, cotangent in asked.items()]).sum()
    parts = torch.autograd.grad(total, list(call.leaves.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(call.leaves, parts, strict=True))


def worst_error(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> tuple[float, str]:
    """Return the largest error relative to the largest entry of a tensor, and the tensor's name."""
    assert found.keys() == wanted.keys()
    errors = [(0.0, "")]
    for name, expected in wanted.items():
        if expected.numel():
            gap = float((found[name] - expected).detach().abs().max())
            errors.append((gap / max(float(expected.detach().abs().max()), 1e-30), name))
    # NaN is the worst: Python's max would pass over it.
    return max(errors, key=lambda error: (math.isnan(error[0]), error))
