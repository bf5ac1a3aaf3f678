"""The memory of a matrix, or of two layers, on a CPU: a call of the library over all segments, forward and backward.

Each row and head goes from segment to segment by itself (`cpp/matrix.hpp`, under Newton-Schulz `cpp/orthogonal.hpp`; of
two layers `cpp/mlp.hpp`).
Only M and S at the borders of segments are kept for the backward pass, and of two layers the hidden units of queries
and the errors; it makes everything else again.
"""

import ctypes
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from atlas_ref.functional.newton_schulz import CoefficientSet, step_coefficients
from atlas_ref.functional.ttl import writing_tokens
from atlas_ref.memory.kernels.call import Asked, MemoryCall, Ran
from atlas_ref.memory.kernels.cpu_library import ask, in_large_pages, stride
from atlas_ref.memory.plan import SegmentPlan
from atlas_ref.memory.rules import MemoryRule, ReadTime, offset
from atlas_ref.memory.segments import Start
from atlas_ref.memory.state import Carry

READS: dict[ReadTime, int] = {"post": 0, "pre": 1, "anchor": 2}
SIZES = (
    *("threads", "batch", "time", "past", "heads", "features", "values", "segments", "width", "front"),
    *("chunk", "normalised", "read", "kept", "hidden", "steps", "writers"),
)
STRIDES = ("key_strides", "value_strides", "query_strides")
PAIRS = ("keys", "value_rows", "queries", "window_keys", "window_values")
GATES = ("retention", "momentum", "intake", "release", "gamma")
HELD = ("weights", "momenta", "anchors")
AFTER = tuple(f"last_{name}" for name in HELD)
BORDERS = ("states", "activations")
PLANS = ("coefficients", "writing", "table")


def _each(names: Sequence[str], matrices: int) -> list[str]:
    """Return the names of the first and the second matrix, as many as there are, of each of some names."""
    return [f"{name}{i}" for name in names for i in range(matrices)]


def _gradients(names: Sequence[str]) -> list[str]:
    return [f"d_{name}" for name in names]


ADDRESSES = (
    *(*PLANS, *PAIRS, *GATES, *_each((*HELD, "initial"), 2)),
    *("reads", *_each(AFTER, 2), "errors", *BORDERS),
    *("d_reads", *_gradients(_each(AFTER, 2))),
    *("d_keys", "d_values", "d_queries", "d_window_keys", "d_window_values"),
    *_gradients((*GATES, *_each((*HELD, "initial"), 2))),
)


class _Call(ctypes.Structure):
    """`Call` of `cpp/call.hpp`."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in SIZES),
        *((name, ctypes.c_int64 * 3) for name in STRIDES),
        ("offset", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in ADDRESSES),
    )


class _Layout(NamedTuple):
    """What the library is told besides numbers that have a gradient."""

    name: str
    sizes: dict[str, int]
    offset: float
    coefficients: Float[Tensor, "steps 3"]
    writing: Bool[Tensor, "batch time"]
    table: Int[Tensor, "5 segments batch"]
    measured: bool


def run_cpu(library: ctypes.CDLL, call: MemoryCall) -> Ran:
    """Run a memory that `known.supports_on_cpu` over a call."""
    rule, plan, asked, write, start, state, measured = call
    keys, values, queries = (x if x.stride(-1) == 1 else x.contiguous() for x in asked)
    gates = (write.retention, write.momentum, write.intake, write.release, write.window)
    held = (*state.weights, *state.momentum, *state.anchor, *start.initial)
    rest = (state.window_keys, state.window_values, *gates, *held)
    given = (keys, values, queries, *(x.to(keys.dtype).contiguous() for x in rest))
    layout = _layout(rule, plan, asked, start, state.window_keys.shape[1], measured)
    apply: Callable[..., tuple[Tensor, ...]] = _Memory.apply
    if torch.is_grad_enabled():
        reads, *after = apply(library, layout, *given)
    else:
        reads, *after = _answer(library, layout, given, False)[0]
    n = len(start.initial)
    carry = Carry(tuple(after[:n]), tuple(after[n : 2 * n]), tuple(after[2 * n : 3 * n]))
    return reads, carry, after[-1] if measured else None


def _layout(rule: MemoryRule, plan: SegmentPlan, asked: Asked, start: Start, past: int, measured: bool) -> _Layout:
    batch, time, heads, features = asked.keys.shape
    steps = rule.newton_schulz_steps if rule.orthogonalised else 0
    sizes = {
        "threads": torch.get_num_threads(),
        "batch": batch,
        "time": time,
        "past": past,
        "heads": heads,
        "features": features,
        "values": asked.values.shape[-1],
        "segments": plan.count,
        "width": plan.width,
        "front": plan.front,
        "chunk": rule.chunk if rule.boundary == "truncate" else 0,
        "normalised": int(rule.normalised),
        "read": READS[rule.read],
        "hidden": start.initial[-1].shape[-2],
        "steps": steps,
        "writers": -(-plan.width // rule.update_every),
    }
    name = "orthogonal" if rule.orthogonalised else rule.architecture
    writing = writing_tokens(plan.position, rule.update_every)
    return _Layout(name, sizes, offset(rule), _table_of(rule.coefficients, steps), writing, plan.table, measured)


@lru_cache(maxsize=16)
def _table_of(coefficients: CoefficientSet, steps: int) -> Tensor:
    """Return the a, b and c of each step."""
    return torch.tensor(step_coefficients(coefficients, steps), dtype=torch.float64).view(steps, 3)


def _answer(
    library: ctypes.CDLL, layout: _Layout, given: Sequence[Tensor], kept: bool
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return reads, M, S and xi after the call, where measured the squared errors, and what `BORDERS` names."""
    keys, values, sizes, matrices = given[0], given[1], layout.sizes, _matrices(given)
    held = [x.shape[-2:] if layout.name == "orthogonal" else x.shape[:-3:-1] for x in given[10 : 10 + matrices]]
    shapes = [(sizes["segments"] + 1 if kept else 2, 2, _numbers(library, keys.dtype, held))]
    if kept and matrices == 2:
        asked, errors = (sizes["width"], sizes["hidden"]), (sizes["past"] + sizes["width"], sizes["values"])
        shapes.append((sizes["segments"], 1, _numbers(library, keys.dtype, [asked, errors])))
    borders = tuple(in_large_pages(library, keys.new_empty(*given[10].shape[:2], *shape)) for shape in shapes)
    found = [keys.new_empty(values.shape), *(torch.empty_like(x) for x in given[10 : 10 + 3 * matrices])]
    if layout.measured:
        slots = sizes["past"] + sizes["width"]
        found.append(keys.new_zeros(sizes["segments"], sizes["batch"], sizes["heads"], slots))
    named = dict(zip(("reads", *_each(AFTER, matrices), "errors"), found, strict=False))
    ask(library, f"{layout.name}_forward", keys.dtype, _call(layout, given, kept, borders, named))
    return tuple(found), borders


def _numbers(library: ctypes.CDLL, dtype: torch.dtype, shapes: Iterable[Sequence[int]]) -> int:
    """Return how many numbers some matrices are as the library holds them."""
    return sum(rows * stride(library, columns, dtype) for rows, columns in shapes)


def _matrices(given: Sequence[Tensor]) -> int:
    """Return how many matrices the memory has: behind pairs and gates stand M, S, xi and M_0 of each."""
    return (len(given) - len(PAIRS) - len(GATES)) // 4


class _Memory(torch.autograd.Function):
    """Keys, values, queries, window, gates, M, S, xi and M_0 to reads, M, S and xi after the call, and errors."""

    @staticmethod
    def forward(ctx: Any, library: ctypes.CDLL, layout: _Layout, *given: Tensor) -> tuple[Tensor, ...]:
        found, borders = _answer(library, layout, given, any(ctx.needs_input_grad))
        if layout.measured:
            ctx.mark_non_differentiable(found[-1])
        ctx.save_for_backward(*given, *borders)
        ctx.library, ctx.layout, ctx.given = library, layout, len(given)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        given, borders = ctx.saved_tensors[: ctx.given], ctx.saved_tensors[ctx.given :]
        keys, values, queries, *rest = given
        matrices = _matrices(given)
        rest, initial = rest[:-matrices], rest[-matrices:]
        added = [x.new_zeros(x.shape) for x in rest[:2]]
        made = [x.new_empty(x.shape) for x in (keys, values, queries, *rest[2:])]
        of_initial = [x.new_zeros(len(keys), *x.shape) for x in initial]
        found = [*made[:3], *added, *made[3:], *of_initial]
        wanted = (x.contiguous() for x in grads[: 1 + 3 * matrices])
        names = [
            *("d_keys", "d_values", "d_queries", "d_window_keys", "d_window_values"),
            *_gradients((*GATES, *_each((*HELD, "initial"), matrices))),
            *("d_reads", *_gradients(_each(AFTER, matrices))),
        ]
        named = dict(zip(names, (*found, *wanted), strict=True))
        ask(ctx.library, f"{ctx.layout.name}_backward", keys.dtype, _call(ctx.layout, given, True, borders, named))
        return None, None, *found[:-matrices], *(x.sum(0) for x in of_initial)


def _call(
    layout: _Layout, given: Sequence[Tensor], kept: bool, borders: Sequence[Tensor], more: dict[str, Tensor]
) -> _Call:
    """Return a call with everything that both passes read, and `more`; what it names must outlive it."""
    named = dict(zip((*PAIRS, *GATES, *_each((*HELD, "initial"), _matrices(given))), given, strict=True)) | more
    named |= {name: getattr(layout, name) for name in PLANS} | dict(zip(BORDERS, borders, strict=False))
    places = {name: x.data_ptr() for name, x in named.items()}
    strides = {name: x.stride()[:3] for name, x in zip(STRIDES, given, strict=False)}
    return _Call(**layout.sizes, kept=int(kept), offset=layout.offset, **places, **strides)
