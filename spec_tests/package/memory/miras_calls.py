"""Calls of the memory with the axes of MIRAS: their inputs, both forms of the package, and what the loop says.

Gradients are compared along directions: for each input one random direction, in which the loop's complex step must
agree with the package's gradient of a random projection of everything that comes out.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Final, cast

import numpy as np
import torch
from torch import Tensor

from atlas_ref.memory.bias import Bias, BiasName
from atlas_ref.memory.link import Link, LinkName
from atlas_ref.memory.recurrent import MemoryOutput
from atlas_ref.memory.rules import Gates, MemoryRule
from atlas_ref.memory.state import fresh_memory_state
from spec_tests.drawing.inputs import generator
from spec_tests.package.memory.miras_loop import Matrices, Options, run
from spec_tests.port import Array

Form = Callable[..., MemoryOutput]
BATCH, TIME, HEADS, FEATURES, VALUES, HIDDEN = 2, 8, 2, 4, 3, 5
TIGHT: Final = 1e-12
STEP: Final = 1e-40


def rule_of(o: Options) -> MemoryRule:
    """Return the rule of the package that the options name."""
    same = ("architecture", "read", "retention", "error_at", "gate_axis", "algorithm")
    named: dict[str, Any] = {"name": o.rule, **{key: getattr(o, key) for key in same}}
    bias, link = cast(BiasName, o.bias), cast(LinkName, o.link)
    return MemoryRule(
        **named,
        chunk=o.chunk,
        boundary="carry",
        loss_scale=o.loss_scale,
        step_scale="mass" if o.mass else "literal",
        momentum_max=0.9,
        coefficients="quintic",
        newton_schulz_steps=5,
        update_every=o.every,
        bias=Bias(bias, o.p, o.s),
        link=Link(link, o.q, o.scale, o.level),
    )


def shapes(o: Options) -> list[tuple[int, int]]:
    inner = [(HIDDEN, FEATURES)] * {"mlp": 1, "mlp_norm": 1, "mlp_glu": 2}.get(o.architecture, 0)
    return [(VALUES, HIDDEN if inner else FEATURES), *inner]


def draw(o: Options, seed: int = 1, time: int = TIME, batch: int = BATCH) -> tuple[dict[str, Array], Matrices]:
    """Return inputs by name and the initial matrices."""
    rng = generator(seed)
    token = (batch, time, HEADS)
    axis = {"head": (1,), "rows": (VALUES,), "columns": (FEATURES,)}[o.gate_axis]
    inputs = {
        "keys": 0.6 * rng.standard_normal((*token, FEATURES)),
        "values": rng.standard_normal((*token, VALUES)),
        "queries": rng.standard_normal((*token, FEATURES)),
        "log_retention": np.log(rng.uniform(0.6, 1.0, (*token, *axis))),
        "log_momentum": np.log(rng.uniform(0.1, 0.8, token)),
        "step_size": rng.uniform(0.05, 0.4, token),
        "window_weights": rng.uniform(0.1, 1.0, (*token, o.window)),
        "threshold": rng.uniform(0.3, 1.5, token),
    }
    return inputs, [0.7 * rng.standard_normal((HEADS, *shape)) for shape in shapes(o)]


def resets(batch: int, time: int, places: Sequence[int]) -> Array:
    """Return marks in row 0 at `places`; row 1 goes on throughout."""
    marks = np.zeros((batch, time), bool)
    marks[0, [place for place in places if place < time]] = True
    return marks


def leaves_of(inputs: dict[str, Array], initial: Matrices, kind: torch.dtype = torch.float64) -> dict[str, Tensor]:
    named = inputs | {f"initial.{i}": matrix for i, matrix in enumerate(initial)}
    return {name: torch.tensor(value).to(kind).requires_grad_() for name, value in named.items()}


def outcome(
    form: Form, o: Options, leaves: dict[str, Tensor], reset: Array, cuts: Sequence[int] = (), **more: Any
) -> dict[str, Tensor]:
    """Return reads and state of one call, or of several that hand the state on, cut at `cuts`."""
    initial = tuple(leaves[name] for name in sorted(leaves) if name.startswith("initial."))
    batch, time = leaves["keys"].shape[:2]
    state = fresh_memory_state(initial, batch, o.window, FEATURES, VALUES, o.every)
    retention = leaves["log_retention"].exp()
    if o.gate_axis == "head":
        retention = retention.squeeze(-1)
    gates = (retention, leaves["log_momentum"].exp(), *(leaves[name] for name in ("step_size", "window_weights")))
    reads, edges = [], [0, *cuts, time]
    for begin, end in pairwise(edges):
        part = slice(begin, end)
        pairs = (leaves[name][:, part] for name in ("keys", "values", "queries"))
        given = Gates(*(gate[:, part] for gate in (*gates, leaves["threshold"])))
        marks = torch.tensor(reset[:, part])
        output = form(rule_of(o), *pairs, given, initial, state, marks, **more)
        reads.append(output.reads)
        state = output.state
    kept = {
        name: x for name, x in state.to_tensors().items() if name.split(".")[0] in ("weights", "momentum", "anchor")
    }
    return {"reads": torch.cat(reads, 1), **kept}


def cotangents(found: dict[str, Array], seed: int = 5) -> dict[str, Array]:
    rng = generator(seed)
    return {name: rng.standard_normal(found[name].shape) for name in sorted(found)}


def gap(found: Array, wanted: Array) -> float:
    """Return the largest difference relative to the largest entry."""
    return float(np.abs(found - wanted).max(initial=0.0) / max(np.abs(wanted).max(initial=0.0), 1e-30))


def errors(
    form: Form,
    o: Options,
    reset_at: Sequence[int] = (),
    cuts: Sequence[int] = (),
    *,
    seed: int = 1,
    time: int = TIME,
    **more: Any,
) -> dict[str, float]:
    """Return the relative error of every output, and of the gradient of every input along one direction."""
    inputs, initial = draw(o, seed, time)
    reset = resets(BATCH, time, reset_at)
    leaves = leaves_of(inputs, initial)
    found, wanted = outcome(form, o, leaves, reset, cuts, **more), run(o, inputs, initial, reset)
    worst = {name: gap(found[name].detach().numpy(), value) for name, value in wanted.items()}
    asked = cotangents(wanted)
    total = torch.stack([(found[name] * torch.tensor(c)).sum() for name, c in asked.items()]).sum()
    gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True, materialize_grads=True)
    for i, (name, gradient) in enumerate(zip(leaves, gradients, strict=True)):
        direction = generator(100 + i).standard_normal(gradient.shape)
        along = stepped(o, inputs, initial, reset, name, direction, asked)
        slopes = gradient.numpy() * direction
        worst[f"d {name}"] = abs(slopes.sum() - along) / max(float(np.abs(slopes).sum()), abs(along), 1e-30)
    return worst


def stepped(
    o: Options,
    inputs: dict[str, Array],
    initial: Matrices,
    reset: Array,
    name: str,
    direction: Array,
    asked: dict[str, Array],
) -> float:
    """Return the derivative of the projection of the loop along `direction` of one input, by a complex step."""
    moved = {n: x + 1j * STEP * direction if n == name else x for n, x in inputs.items()}
    start = [m + 1j * STEP * direction if f"initial.{i}" == name else m for i, m in enumerate(initial)]
    found = run(o, moved, start, reset)
    return float(sum((found[n].imag * c).sum() for n, c in asked.items()) / STEP)


def assert_equal(found: dict[str, float], allowed: float = TIGHT) -> None:
    wrong = {name: error for name, error in found.items() if not error <= allowed}
    assert not wrong, f"relative errors above {allowed:g}: {wrong}"
