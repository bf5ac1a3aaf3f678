"""The memory of one matrix on a CPU: a call of the library over all segments, forward and backward.

Each row and head goes from segment to segment by itself (`cpp/matrix.hpp`, under Newton-Schulz `cpp/orthogonal.hpp`).
Only M and S at the borders of segments are kept for the backward pass, which makes everything else again.
"""

import ctypes
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from atlas_ref.functional.newton_schulz import CoefficientSet, step_coefficients
from atlas_ref.functional.ttl import writing_tokens
from atlas_ref.memory.kernels.choice import Asked
from atlas_ref.memory.kernels.cpu_library import ask, padded
from atlas_ref.memory.plan import SegmentPlan
from atlas_ref.memory.rules import MemoryRule, ReadTime, WriteCoefficients, offset
from atlas_ref.memory.segments import Start
from atlas_ref.memory.state import Carry, MemoryState

READS: dict[ReadTime, int] = {"post": 0, "pre": 1, "anchor": 2}
SIZES = (
    *("threads", "batch", "time", "past", "heads", "features", "values", "segments", "width", "front"),
    *("chunk", "normalised", "read", "kept", "steps", "writers"),
)
STRIDES = ("key_strides", "value_strides", "query_strides")
PAIRS = ("keys", "value_rows", "queries", "window_keys", "window_values")
GATES = ("retention", "momentum", "intake", "release", "gamma")
HELD = ("weights", "momenta", "anchors")
AFTER = tuple(f"last_{name}" for name in HELD)
D_AFTER = ("d_reads", *(f"d_{name}" for name in AFTER))
GRADS = (
    *("d_keys", "d_values", "d_queries", "d_window_keys", "d_window_values"),
    *(f"d_{name}" for name in (*GATES, *HELD, "initial")),
)
PLANS = ("coefficients", "writing", "table")
ADDRESSES = (*PLANS, *PAIRS, *GATES, *HELD, "initial", "reads", *AFTER, "errors", "states", *D_AFTER, *GRADS)


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


def run_cpu(
    library: ctypes.CDLL,
    rule: MemoryRule,
    plan: SegmentPlan,
    asked: Asked,
    write: WriteCoefficients,
    start: Start,
    state: MemoryState,
    measured: bool,
) -> tuple[Tensor, Carry, Tensor | None]:
    """Return the reads [batch, time, heads, values], the state, and where asked for the squared errors of all slots.

    The memory is one that `choice.supports_on_cpu`.
    """
    keys, values, queries = (x if x.stride(-1) == 1 else x.contiguous() for x in asked)
    gates = (write.retention, write.momentum, write.intake, write.release, write.window)
    held = (state.weights[0], state.momentum[0], state.anchor[0], start.initial[0])
    rest = (state.window_keys, state.window_values, *gates, *held)
    given = (keys, values, queries, *(x.to(keys.dtype).contiguous() for x in rest))
    layout = _layout(rule, plan, asked, state.window_keys.shape[1], measured)
    apply: Callable[..., tuple[Tensor, ...]] = _Memory.apply
    if torch.is_grad_enabled():
        reads, weights, momentum, anchor, *errors = apply(library, layout, *given)
    else:
        (reads, weights, momentum, anchor, *errors), _ = _answer(library, layout, given, False)
    return reads, Carry((weights,), (momentum,), (anchor,)), errors[0] if measured else None


def _layout(rule: MemoryRule, plan: SegmentPlan, asked: Asked, past: int, measured: bool) -> _Layout:
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
        "steps": steps,
        "writers": -(-plan.width // rule.update_every),
    }
    name = "orthogonal" if rule.orthogonalised else "memory"
    writing = writing_tokens(plan.position, rule.update_every)
    return _Layout(name, sizes, offset(rule), _table_of(rule.coefficients, steps), writing, plan.table, measured)


@lru_cache(maxsize=16)
def _table_of(coefficients: CoefficientSet, steps: int) -> Tensor:
    """Return the a, b and c of each step."""
    return torch.tensor(step_coefficients(coefficients, steps), dtype=torch.float64).view(steps, 3)


def _answer(
    library: ctypes.CDLL, layout: _Layout, given: Sequence[Tensor], kept: bool
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Return reads, M, S and xi after the call, where measured the squared errors, and M and S at borders if `kept`."""
    keys, values, held, sizes = given[0], given[1], given[10], layout.sizes
    borders = sizes["segments"] + 1 if kept else 2
    rows, columns = sizes["features"], sizes["values"]
    if layout.name == "orthogonal":
        rows, columns = columns, rows
    states = keys.new_empty(sizes["batch"], sizes["heads"], borders, 2, rows, padded(library, columns, keys.dtype))
    found = [keys.new_empty(values.shape), *(torch.empty_like(held) for _ in HELD)]
    if layout.measured:
        slots = sizes["past"] + sizes["width"]
        found.append(keys.new_zeros(sizes["segments"], sizes["batch"], sizes["heads"], slots))
    named = dict(zip(("reads", *AFTER, "errors"), found, strict=False))
    ask(library, f"{layout.name}_forward", keys.dtype, _call(layout, given, kept, states, named))
    return tuple(found), states


class _Memory(torch.autograd.Function):
    """Keys, values, queries, window, gates, M, S, xi and M_0 to reads, M, S and xi after the call, and errors."""

    @staticmethod
    def forward(ctx: Any, library: ctypes.CDLL, layout: _Layout, *given: Tensor) -> tuple[Tensor, ...]:
        found, states = _answer(library, layout, given, any(ctx.needs_input_grad))
        if layout.measured:
            ctx.mark_non_differentiable(found[-1])
        ctx.save_for_backward(*given, states)
        ctx.library, ctx.layout = library, layout
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *given, states = ctx.saved_tensors
        keys, values, queries, *rest, initial = given
        batch = len(keys)
        added = [x.new_zeros(x.shape) for x in (keys, values, *rest[:2])]
        made = [x.new_empty(x.shape) for x in (queries, *rest[2:])]
        of_initial = initial.new_zeros(batch, *initial.shape)
        found = [*added[:2], made[0], *added[2:], *made[1:], of_initial]
        wanted = (x.contiguous() for x in grads[:4])
        named = dict(zip((*GRADS, *D_AFTER), (*found, *wanted), strict=True))
        ask(ctx.library, f"{ctx.layout.name}_backward", keys.dtype, _call(ctx.layout, given, True, states, named))
        return None, None, *found[:-1], of_initial.sum(0)


def _call(layout: _Layout, given: Sequence[Tensor], kept: bool, states: Tensor, more: dict[str, Tensor]) -> _Call:
    """Return a call with everything that both passes read, and `more`; what it names must outlive it."""
    named = dict(zip((*PAIRS, *GATES, *HELD, "initial"), given, strict=True)) | more
    named |= {name: getattr(layout, name) for name in PLANS} | {"states": states}
    places = {name: x.data_ptr() for name, x in named.items()}
    strides = {name: x.stride()[:3] for name, x in zip(STRIDES, given, strict=False)}
    return _Call(**layout.sizes, kept=int(kept), offset=layout.offset, **places, **strides)
