"""Attention over a window by kernels, from what was projected to outputs: rotation, scores, dropout, weighted sums.

What runs on the chip is written down in `attention_kernels` and `rotary_kernels`; the references are
`functional.attention.sliding_window_attention` and `functional.rotary`. Rotated queries and keys are rounded to the
dtype of the projection, as there; weights are rounded to it before they are divided by their sum, which the reference
does first.
"""

from collections.abc import Callable
from typing import Any, Final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from atlas_ref.blocks.kernels.attended import Past, Shape
from atlas_ref.blocks.kernels.attention_kernels import forward, to_keys, to_queries
from atlas_ref.blocks.kernels.dropout_parts import drawing
from atlas_ref.blocks.kernels.rotary_kernels import turn
from atlas_ref.functional.dropout import Drop
from atlas_ref.functional.rotary import Angles
from atlas_ref.memory.kernels.launching import precision, tile
from atlas_ref.memory.kernels.sums import summed

QUERIES: Final = 64
KEYS: Final = 64
PAIRS: Final = 256
ROWS: Final = 4
"""Sides of the tiles: queries and keys of a program, pairs that are turned and tokens whose pairs they are."""
LAUNCH: Final = {"num_warps": 4, "num_stages": 2}


def attention(
    projected: Float[Tensor, "batch time channels"],
    persistent: Float[Tensor, "tokens channels"],
    past: Past,
    position: Int[Tensor, "batch time"],
    turning: Angles | None,
    shape: Shape,
    drop: Drop | None,
) -> tuple[Float[Tensor, "batch time heads dim"], Float[Tensor, "*turned"]]:
    """Return the outputs and the rotated keys; `channels` are queries, keys and values of all heads.

    Persistent tokens are not rotated, and caches have been. Without `turning` nothing is, and there are no rotated
    keys: an empty tensor.
    """
    apply: Callable[..., tuple[Tensor, Tensor]] = _Attention.apply
    return apply(projected, persistent, *past, position, *(turning or (None, None)), shape, drop)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        projected: Tensor,
        persistent: Tensor,
        old_keys: Tensor,
        old_values: Tensor,
        position: Tensor,
        cosine: Tensor | None,
        sine: Tensor | None,
        shape: Shape,
        drop: Drop | None,
    ) -> tuple[Tensor, Tensor]:
        projected, persistent, position = projected.contiguous(), persistent.contiguous(), position.contiguous()
        batch, time, _ = projected.shape
        heads, dim, _ = shape
        angles, turned = (cosine, sine), projected.view(batch, time, 3, heads, dim)
        if cosine is not None and sine is not None:
            angles, turned = (cosine.contiguous(), sine.contiguous()), projected.new_empty(batch, time, 2, heads, dim)
            _turn(projected, turned, angles, shape, back=False)
        out = projected.new_empty(batch, time, heads, dim)
        logs = projected.new_empty(batch, heads, time, dtype=torch.float32)
        given = (*_parts(projected, persistent, turned, shape), old_keys.contiguous(), old_values.contiguous())
        q, k, v, fixed_k, fixed_v, old_k, old_v = given
        drop_keys, numbers, settings = _settings(shape, persistent, drop, position)
        forward[(batch * -(-time // QUERIES), heads)](
            *(q, k, v, old_k, old_v, fixed_k, fixed_v, position, drop_keys, out, logs),
            *_sizes(time, shape, turned),
            persistent.shape[1],
            *numbers,
            *settings,
            QUERIES,
            KEYS,
            tile(len(persistent)),
            drop is not None,
            precision(),
            **LAUNCH,
        )
        ctx.save_for_backward(projected, persistent, turned, old_k, old_v, position, drop_keys, out, logs, *angles)
        ctx.shape, ctx.drop = shape, drop
        ctx.set_materialize_grads(False)
        return out, out.new_empty(0) if cosine is None else turned[:, :, 1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        projected, persistent, turned, old_k, old_v, position, drop_keys, out, logs, *angles = ctx.saved_tensors
        shape, drop = ctx.shape, ctx.drop
        d_out, d_turned = grads
        batch, time, _ = projected.shape
        d_out = torch.zeros_like(out) if d_out is None else d_out.contiguous()
        q, k, v, fixed_k, fixed_v = _parts(projected, persistent, turned, shape)
        d_projected = torch.empty_like(projected)
        d_q, d_k, d_v = d_projected.view(batch, time, 3, *shape[:2]).unbind(2)
        along = torch.empty_like(logs)
        blocks = batch * -(-time // QUERIES)
        d_fixed = logs.new_empty(2, blocks, len(persistent), *shape[:2])
        _, numbers, settings = _settings(shape, persistent, drop, position)
        to_queries[(blocks, shape.heads)](
            *(q, k, v, old_k, old_v, fixed_k, fixed_v, position, drop_keys, out, logs, d_out, along, d_q, *d_fixed),
            *_sizes(time, shape, turned),
            persistent.shape[1],
            *numbers,
            *settings,
            QUERIES,
            KEYS,
            tile(len(persistent)),
            drop is not None,
            precision(),
            **LAUNCH,
        )
        learned = shape.window - 1 if any(ctx.needs_input_grad[2:4]) else 0
        d_old = torch.empty_like(old_k), torch.empty_like(old_v)
        to_keys[(batch * -(-(time + learned) // KEYS), shape.heads)](
            *(q, k, v, old_k, old_v, position, drop_keys, logs, d_out, along, d_k, d_v, *d_old),
            *_sizes(time, shape, turned),
            *numbers,
            settings[0],
            learned,
            *settings[1:],
            QUERIES,
            KEYS,
            drop is not None,
            precision(),
            **LAUNCH,
        )
        if angles[0] is not None:
            if d_turned is not None:
                d_k += d_turned
            _turn(d_projected, d_projected, tuple(angles), shape, back=True)
        d_persistent = torch.zeros_like(persistent)
        d_pairs = summed(d_fixed.flatten(2)).view(2, len(persistent), *shape[:2])
        d_persistent.view(-1, 3, *shape[:2])[:, 1:] = d_pairs.movedim(0, 1)
        return d_projected, d_persistent, *(d_old if learned else (None, None)), *(None,) * 5


def _parts(projected: Tensor, persistent: Tensor, turned: Tensor, shape: Shape) -> tuple[Tensor, ...]:
    """Return rotated queries and keys, values, and keys and values of the persistent tokens, where each begins."""
    heads, dim, _ = shape
    values = projected.view(*projected.shape[:2], 3, heads, dim)[:, :, 2]
    _, keys, fixed = persistent.view(-1, 3, heads, dim).unbind(1)
    return turned[:, :, 0], turned[:, :, 1], values, keys, fixed


def _sizes(time: int, shape: Shape, turned: Tensor) -> tuple[int, ...]:
    """Return the tokens, the heads, and the numbers in a row of what is turned and of what is projected."""
    wide = shape.heads * shape.dim
    return time, shape.heads, turned.shape[2] * wide, 3 * wide


def _settings(
    shape: Shape, persistent: Tensor, drop: Drop | None, position: Tensor
) -> tuple[Tensor, tuple[float, ...], tuple[int, ...]]:
    """Return what rows draw from; first token, limit, scale and share of what stays; and sizes of the tiles."""
    _, dim, window = shape
    keys, (first, limit, scale) = drawing(drop, position)
    return keys, (first, limit, dim**-0.5, scale), (window - 1, len(persistent), dim, tile(dim))


def _turn(x: Tensor, out: Tensor, angles: tuple[Tensor, ...], shape: Shape, *, back: bool) -> None:
    """Turn queries and keys of the rows of x."""
    pairs, tokens = shape.heads * shape.dim, x.shape[0] * x.shape[1]
    grid = (-(-tokens // ROWS), -(-pairs // PAIRS))
    strides = x.stride(1), out.stride(1)
    turn[grid](x, *angles, out, tokens, pairs, *strides, -1 if back else 1, shape.dim // 2, PAIRS, ROWS)
