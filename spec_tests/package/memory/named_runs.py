"""The runs that compare a named model with the memory of the package: inputs, both sides, and how far they are apart.

`test_named_models` asks that they agree, `benchmarks.models` says how well.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from atlas_ref.memory.bias import Bias
from atlas_ref.memory.chunked import memory_chunked
from atlas_ref.memory.link import Link
from atlas_ref.memory.recurrent import MemoryOutput, memory_recurrent
from atlas_ref.memory.ridge import fresh_ridge_state, ridge_scan
from atlas_ref.memory.rules import Gates, MemoryRule
from atlas_ref.memory.state import fresh_memory_state
from spec_tests.drawing.inputs import generator
from spec_tests.package.memory.linear_models import mesa
from spec_tests.package.memory.miras_calls import STEP, gap
from spec_tests.package.memory.named_models import Model
from spec_tests.port import Array

BATCH, TIME, HEADS, FEATURES, VALUES, HIDDEN = 2, 9, 2, 4, 3, 5
RATES = (0.7, 1.3)
DOCUMENTS = {0: (0, 4, 5, TIME), 1: (0, TIME)}
"""Where documents begin and end in each row."""
FORMS: dict[str, Callable[..., MemoryOutput]] = {
    "recurrent": memory_recurrent,
    "chunked": memory_chunked,
    "scheduled": partial(memory_chunked, schedule=3),
}


def draw(model: Model | None, seed: int = 3) -> dict[str, Array]:
    rng, token = generator(seed), (BATCH, TIME, HEADS)
    found = {
        "q": rng.standard_normal((*token, FEATURES)),
        "k": 0.6 * rng.standard_normal((*token, FEATURES)),
        "v": rng.standard_normal((*token, VALUES)),
        "log_head": np.log(rng.uniform(0.6, 1.0, token)),
        "log_features": np.log(rng.uniform(0.6, 1.0, (*token, FEATURES))),
        "beta": rng.uniform(0.1, 1.0, token),
        "eta": rng.uniform(0.05, 0.3, token),
        "momentum": rng.uniform(0.1, 0.8, token),
        "delta": rng.uniform(0.1, 1.0, token),
        "threshold": rng.uniform(0.5, 2.0, token),
        "gamma": rng.uniform(0.1, 1.0, (*token, 3)),
    }
    if model is None:
        return found | {"ridge": rng.uniform(0.25, 2.0, (HEADS, FEATURES))}
    deep = "mlp" in model.rule.get("architecture", "matrix")
    shapes = [(VALUES, HIDDEN), (HIDDEN, FEATURES)] if deep else [(VALUES, FEATURES)]
    return found | {f"initial.{i}": 0.7 * rng.standard_normal((HEADS, *shape)) for i, shape in enumerate(shapes)}


def published(recurrence: Callable[..., Array], constants: dict[str, Any], x: dict[str, Array]) -> Array:
    """Run a recurrence on every document of every row and head."""
    reads = np.zeros(x["v"].shape, np.result_type(*x.values()))
    for b, h in np.ndindex(BATCH, HEADS):
        own = {name: value[h] for name, value in x.items() if name.startswith(("initial", "ridge"))}
        for begin, end in pairwise(DOCUMENTS[b]):
            part = {name: value[b, begin:end, h] for name, value in x.items() if name not in own}
            reads[b, begin:end, h] = recurrence(part | own, {"head": h, "rate": RATES[h], "chunk": 3} | constants)
    return reads


def marks() -> Tensor:
    reset = torch.zeros(BATCH, TIME, dtype=torch.bool)
    for row, edges in DOCUMENTS.items():
        reset[row, list(edges[1:-1])] = True
    return reset


def rule_of(model: Model) -> MemoryRule:
    named = {"architecture": "matrix"} | model.rule
    named |= {key: kind(**named[key]) for key, kind in (("bias", Bias), ("link", Link)) if key in named}
    return MemoryRule(
        boundary="carry",
        read="post",
        loss_scale=0.5,
        step_scale="literal",
        momentum_max=0.9,
        coefficients="quintic",
        newton_schulz_steps=5,
        **named,
    )


def gates_of(name: str, model: Model, x: dict[str, Tensor]) -> Gates:
    def gate(given: str | float | None) -> Tensor:
        if isinstance(given, str):
            return x[given].exp() if given.startswith("log") else x[given]
        return torch.full_like(x["beta"], 1.0 if given is None else given)

    alpha = gate(model.gates[0])
    if name == "retnet":
        alpha = alpha * (1.0 - 2.0 ** (-5.0 - torch.arange(HEADS, dtype=alpha.dtype)))
    if name == "mamba-2":
        alpha = torch.exp(-x["delta"] * torch.tensor(RATES, dtype=alpha.dtype))
    window = x["gamma"] if "window" in model.constants else torch.ones_like(x["gamma"][..., :1])
    return Gates(alpha, gate(model.gates[2]), gate(model.gates[1]), window, x["threshold"])


def remembered(
    name: str,
    model: Model,
    x: dict[str, Tensor],
    form: str,
    cuts: tuple[int, ...] = (),
    rule: MemoryRule | None = None,
) -> Tensor:
    """Return the reads of the package under the rule of a model, or under another one."""
    initial = tuple(x[key] for key in sorted(x) if key.startswith("initial"))
    gates = gates_of(name, model, x)
    state = fresh_memory_state(initial, BATCH, gates.window.shape[-1], FEATURES, VALUES)
    reads = []
    for begin, end in pairwise([0, *cuts, TIME]):
        part = slice(begin, end)
        pairs = (x[key][:, part] for key in ("k", "v", "q"))
        given = Gates._make(None if gate is None else gate[:, part] for gate in gates)
        output: MemoryOutput = FORMS[form](rule or rule_of(model), *pairs, given, initial, state, marks()[:, part])
        reads.append(output.reads)
        state = output.state
    return torch.cat(reads, 1)


def solved(x: dict[str, Tensor]) -> Tensor:
    """Return the reads of the package for MesaNet."""
    state = fresh_ridge_state(BATCH, HEADS, FEATURES, VALUES, x["k"])
    return ridge_scan(x["k"], x["v"], x["q"], x["log_head"].exp(), x["beta"], x["ridge"], marks(), state)[0]


def published_mesa(x: dict[str, Array]) -> Array:
    return published(mesa, {}, x)


class Apart(NamedTuple):
    """The largest relative differences: of reads, and of gradients along one direction of every input, by its name."""

    reads: float
    gradients: dict[str, float]


def apart(
    recurrence: Callable[[dict[str, Array]], Array], package: Callable[[dict[str, Tensor]], Tensor], x: dict[str, Array]
) -> Apart:
    """Compare reads, and the gradients of a projection of them with the complex step of the recurrence."""
    leaves = {name: torch.tensor(value).requires_grad_() for name, value in x.items()}
    wanted, found = recurrence(x), package(leaves)
    cotangent = generator(8).standard_normal(wanted.shape)
    total = (found * torch.tensor(cotangent)).sum()
    gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True, materialize_grads=True)
    differences = {}
    for i, (name, gradient) in enumerate(zip(leaves, gradients, strict=True)):
        direction = generator(50 + i).standard_normal(gradient.shape)
        along = (recurrence(x | {name: x[name] + 1j * STEP * direction}).imag * cotangent).sum() / STEP
        slopes = gradient.numpy() * direction
        scale = max(float(np.abs(slopes).sum()), float(abs(along)))
        differences[name] = float(abs(slopes.sum() - along)) / scale if scale else 0.0
    return Apart(gap(found.detach().numpy(), wanted), differences)
