"""Norm, dropout, SwiGLU, the gated join and the statistics of gates by kernels: one pass over the tokens each.

What runs on the chip is written down in `row_kernels`, `join_kernels` and `spread_kernels`. The references are
`torch.nn.RMSNorm`, `functional.dropout`, `blocks.feed_forward`, `blocks.joined` with `functional.mag_gate`, and
`functional.telemetry`.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from atlas_ref.blocks.kernels import join_kernels, row_kernels, spread_kernels
from atlas_ref.blocks.kernels.dropout_parts import drawing
from atlas_ref.functional.dropout import Drop
from atlas_ref.functional.gate_floor import NEAR
from atlas_ref.functional.mag_gate import GateKind
from atlas_ref.functional.telemetry import POLARISED, UNDECIDED, GateStatistics
from atlas_ref.memory.kernels.coordinates import in_rows, window_in_rows
from atlas_ref.memory.kernels.launching import tile
from atlas_ref.memory.kernels.sums import summed

HELD: Final = 2048
"""Numbers of a tile."""
PROGRAMS: Final = 1056
"""Most programs of a pass that adds over tokens: each leaves a row, and a card has some eight at a time a processor."""
PARTS: Final = 1024
"""Tiles of gates whose statistics are put together at once."""
TOKENS: Final = 256
"""Tokens whose gates of a memory are added up at once."""
COMPONENTS: Final = 512
"""Widest tile where components have nothing to do with one another."""
KINDS: Final[tuple[GateKind, ...]] = ("source", "gated_attention", "convex_memory", "convex")
"""Joins, in the order of `join_kernels`."""


class Floored(NamedTuple):
    """A join, which gate it has, and the floor of all or of each token."""

    kind: GateKind
    floor: float | Float[Tensor, "batch time 1"]
    drop: Drop | None


class Norm(NamedTuple):
    """A weight, and what is added to the mean square."""

    weight: Float[Tensor, " dim"]
    eps: float


def normed(x: Float[Tensor, "*tokens dim"], norm: Norm, uses: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Return x to go on with, and the RMS norm of each token, once for each of up to four uses; in one pass the
    gradients of all are added in float32.
    """
    apply: Callable[..., tuple[Tensor, ...]] = _Norm.apply
    return apply(x, *norm, uses, dtype)


def dropped(
    x: Float[Tensor, "batch time dim"], drop: Drop, added: Float[Tensor, "batch time dim"] | None
) -> Float[Tensor, "batch time dim"]:
    """Return what dropout leaves of x, behind `added` where there is something, in the dtype of that."""
    apply: Callable[..., Tensor] = _Dropout.apply
    return apply(x, added, drop)


def swiglu(up: Float[Tensor, "*tokens twice"]) -> Float[Tensor, "*tokens hidden"]:
    """Return silu(a) b of a and b side by side."""
    apply: Callable[..., Tensor] = _SwiGlu.apply
    return apply(up)


def joined(
    attended: Float[Tensor, "batch time dim"],
    reads: Float[Tensor, "batch time dim"],
    logits: Float[Tensor, "batch time dim"] | None,
    norms: tuple[Norm, Norm],
    how: Floored,
) -> tuple[Float[Tensor, "batch time dim"], Float[Tensor, "batch time dim"]]:
    """Return the join in the dtype of `attended`, and the sigmoid below the floor, through which nothing is learned."""
    (weight_a, eps_a), (weight_m, eps_m) = norms
    apply: Callable[..., tuple[Tensor, Tensor]] = _Join.apply
    return apply(attended, reads, logits, weight_a, weight_m, (eps_a, eps_m), how)


@torch.no_grad()
def spread(
    raw: Float[Tensor, "batch time dim"], floor: float | Float[Tensor, "batch time 1"]
) -> tuple[GateStatistics, Float[Tensor, ""]]:
    """Return `functional.telemetry.gate_statistics` and `gate_floor.collapse_risk` of detached gates."""
    found = _spread(raw, floor)
    # Floors of tokens are no number of the kernel: gates that have them under them are gates of their own.
    acting = _spread(floor + (1.0 - floor) * raw, 0.0) if isinstance(floor, Tensor) else found
    return GateStatistics(*acting[:4], *found[4:10]), found[10]


@torch.no_grad()
def means(
    retention: Float[Tensor, "batch time heads"],
    momentum: Float[Tensor, "batch time heads"],
    step: Float[Tensor, "batch time heads"],
    window: Float[Tensor, "batch time heads ages"],
) -> tuple[Float[Tensor, ""], ...]:
    """Return the mean of each gate of a memory."""
    given = (*(in_rows(gate.detach()) for gate in (retention, momentum, step)), window_in_rows(window.detach()))
    batch, time, heads, ages = window.shape
    programs = -(-batch * time // TOKENS)
    parts = given[0].new_empty(programs, 4)
    strides = (*(gate.stride(1) for gate in given[:3]), *given[3].stride()[1:])
    spread_kernels.means[(programs,)](*given, parts, *strides, batch * time, heads, ages, tile(heads), TOKENS)
    return parts.sum(0).unbind()


def _spread(raw: Tensor, floor: float | Tensor) -> tuple[Tensor, ...]:
    """Return the numbers of `spread_kernels.whole`."""
    programs = -(-raw.numel() // HELD)
    parts, found, (own, scheduled) = raw.new_empty(programs, 7), raw.new_empty(11), _floors(floor, raw)
    sizes = NEAR, POLARISED, UNDECIDED, isinstance(floor, Tensor), raw.shape[-1], HELD
    spread_kernels.spread[(programs,)](raw.contiguous(), own, parts, raw.numel(), scheduled, *sizes)
    spread_kernels.whole[(1,)](parts, found, programs, raw.numel(), scheduled, HELD, PARTS)
    return found.unbind()


def _rows(width: int) -> tuple[int, int]:
    """Return the width of a tile of whole tokens, and how many it has."""
    return tile(width), max(1, HELD // tile(width))


def _launch(width: int) -> dict[str, int]:
    """Return how a pass with many sums along tokens is launched: with few warps, which wait for each other there."""
    return {"num_warps": max(2, width // 1024)}


def _floors(floor: float | Tensor, like: Tensor) -> tuple[Tensor, float]:
    """Return floors of tokens, or any tensor where there are none, and the floor of all, or 0."""
    return (floor.contiguous(), 0.0) if isinstance(floor, Tensor) else (like, floor)


def _in_parts(tokens: int, rows: int) -> tuple[int, int]:
    """Return the programs of a pass that adds over tokens, and how many tiles each has."""
    steps = -(-tokens // (rows * PROGRAMS))
    return -(-tokens // (rows * steps)), steps


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, uses: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
        x, tokens = x.contiguous(), x.numel() // x.shape[-1]
        out, (width, rows) = torch.empty_like(x, dtype=dtype), _rows(x.shape[-1])
        row_kernels.norm[(-(-tokens // rows),)](x, weight, out, tokens, eps, x.shape[-1], width, rows)
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        ctx.set_materialize_grads(False)
        return (x.view_as(x), out, *(out.view_as(out) for _ in range(uses - 1)))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        beside, *uses = (None if grad is None else grad.contiguous() for grad in grads)
        given = [grad for grad in uses if grad is not None]
        if not given:
            return beside, None, None, None, None
        tokens, (width, rows) = x.numel() // x.shape[-1], _rows(x.shape[-1])
        programs, steps = _in_parts(tokens, rows)
        d_x, parts = torch.empty_like(x), x.new_empty(programs, x.shape[-1], dtype=torch.float32)
        # The kernel takes four, and reads as many as there are.
        slopes = (*(given * 4)[:4], x if beside is None else beside)
        sizes = tokens, ctx.eps, steps, len(given), beside is not None, x.shape[-1], width, rows
        row_kernels.norm_back[(programs,)](x, weight, *slopes, d_x, parts, *sizes, **_launch(width))
        return d_x, summed(parts.unsqueeze(0))[0].to(weight.dtype), None, None, None


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, added: Tensor | None, drop: Drop) -> Tensor:
        ctx.drop, ctx.dtype, ctx.adds = drop, x.dtype, added is not None
        if added is None:
            return _left(x.contiguous(), None, drop, x.dtype)
        return _left(x.contiguous(), added.contiguous(), drop, added.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = grads
        d_x = _left(slope.contiguous(), None, ctx.drop, ctx.dtype)
        return d_x, slope if ctx.adds else None, None


def _left(x: Tensor, added: Tensor | None, drop: Drop, dtype: torch.dtype) -> Tensor:
    """Return what dropout leaves of x, behind `added`."""
    batch, time, dim = x.shape
    out, (width, rows) = torch.empty_like(x, dtype=dtype), _rows(dim)
    keys, numbers = drawing(drop, x)
    sizes = batch * time, time, *numbers, added is not None, dim, width, rows
    row_kernels.dropout[(-(-batch * time // rows),)](x, x if added is None else added, keys, out, *sizes)
    return out


class _SwiGlu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, up: Tensor) -> Tensor:
        up = up.contiguous()
        out = up.new_empty(*up.shape[:-1], up.shape[-1] // 2)
        grid, sizes = _cut(out)
        row_kernels.swiglu[grid](up, out, *sizes)
        ctx.save_for_backward(up)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (up,) = ctx.saved_tensors
        slope, d_up = grads[0].contiguous(), torch.empty_like(up)
        grid, sizes = _cut(slope)
        row_kernels.swiglu_back[grid](up, slope, d_up, *sizes)
        return d_up


def _cut(x: Tensor) -> tuple[tuple[int, int], tuple[int, ...]]:
    """Return grid and sizes of a pass over components."""
    tokens, dim = x.numel() // x.shape[-1], x.shape[-1]
    width = min(tile(dim), COMPONENTS)
    rows = max(1, HELD // width)
    return (-(-tokens // rows), -(-dim // width)), (tokens, dim, width, rows)


class _Join(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        attended: Tensor,
        reads: Tensor,
        logits: Tensor | None,
        weight_a: Tensor,
        weight_m: Tensor,
        eps: tuple[float, float],
        how: Floored,
    ) -> tuple[Tensor, Tensor]:
        attended, reads = attended.contiguous(), reads.contiguous()
        given = attended if logits is None else logits.contiguous()
        out, raw = torch.empty_like(attended), torch.empty_like(attended, dtype=torch.float32)
        floors, keys, numbers = _numbers(attended, eps, how)
        batch, time, dim = attended.shape
        width, rows = _rows(dim)
        join_kernels.join[(-(-batch * time // rows),)](
            *(attended, reads, given, weight_a, weight_m, floors, keys, out, raw),
            *numbers,
            *_form(how),
            dim,
            width,
            rows,
        )
        ctx.save_for_backward(attended, reads, given, weight_a, weight_m, floors, keys)
        ctx.numbers, ctx.how, ctx.learns = numbers, how, logits is not None
        ctx.mark_non_differentiable(raw)
        # No zeros for the gates, through which nothing is learned.
        ctx.set_materialize_grads(False)
        return out, raw

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        attended, reads, logits, weight_a, weight_m, floors, keys = ctx.saved_tensors
        batch, time, dim = attended.shape
        width, rows = _rows(dim)
        programs, steps = _in_parts(batch * time, rows)
        found = torch.empty_like(attended), torch.empty_like(reads), torch.empty_like(logits)
        parts = attended.new_empty(2, programs, dim, dtype=torch.float32)
        join_kernels.join_back[(programs,)](
            *(attended, reads, logits, weight_a, weight_m, floors, keys, grads[0].contiguous(), *found, *parts),
            *ctx.numbers,
            steps,
            *_form(ctx.how),
            dim,
            width,
            rows,
            **_launch(width),
        )
        d_a, d_m = summed(parts)
        d_logits = found[2] if ctx.learns else None
        return *found[:2], d_logits, d_a.to(weight_a.dtype), d_m.to(weight_m.dtype), None, None


def _numbers(like: Tensor, eps: tuple[float, float], how: Floored) -> tuple[Tensor, Tensor, tuple[float, ...]]:
    """Return floors of tokens, what rows draw from, and the numbers of a join in the order of its kernels."""
    floors, scheduled = _floors(how.floor, like)
    keys, drawn = drawing(how.drop, like)
    batch, time, _ = like.shape
    return floors, keys, (batch * time, time, *eps, scheduled, *drawn)


def _form(how: Floored) -> tuple[int, bool, bool]:
    """Return what a kernel of the join is compiled for."""
    return KINDS.index(how.kind), how.drop is not None, isinstance(how.floor, Tensor)
