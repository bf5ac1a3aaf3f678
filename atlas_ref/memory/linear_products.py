"""The two products of the linear run (`linear`), with their derivatives written out.

    written          M' = sum_i w_i l_i r_i^T + w_S S + w_M M,    S' = sum_i u_i l_i r_i^T + u_S S
    mixed_product    y_t = sum_i W[t, i] (r_i . x_t) l_i + W[t, S] S x_t + W[t, M] M x_t

The first is what a segment leaves, the second what its tokens read. Each is a sum of products of matrices, and so is
its derivative. Written out it shares what several terms need, and less is held for it.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.linalg import vecdot


def written(
    left: Float[Tensor, "*batch slots out"],
    right: Float[Tensor, "*batch slots in"],
    weights: Float[Tensor, "*batch out in"],
    momentum: Float[Tensor, "*batch out in"],
    of_weights: tuple[Tensor, Tensor, Tensor],
    of_momentum: tuple[Tensor, Tensor],
) -> tuple[Float[Tensor, "*batch out in"], Float[Tensor, "*batch out in"]]:
    """Return M' and S' (module docstring; derived) from M and S, the `weights` and the `momentum` before.

    `of_weights` are w [*batch, slots], w_S and w_M [*batch, 1], `of_momentum` u and u_S.
    """
    apply: Callable[..., tuple[Tensor, Tensor]] = _Written.apply
    return apply(left, right, weights, momentum, *of_weights, *of_momentum)


def mixed_product(
    mix: Float[Tensor, "*batch tokens coordinates"],
    left: Float[Tensor, "*batch slots out"],
    right: Float[Tensor, "*batch slots in"],
    weights: Float[Tensor, "*batch out in"],
    momentum: Float[Tensor, "*batch out in"],
    x: Float[Tensor, "*batch tokens in"],
) -> Float[Tensor, "*batch tokens out"]:
    """Return y_t = M_t x_t of every token (module docstring; derived).

    Row t of `mix` is W[t]: of every slot, of S and of M.
    """
    apply: Callable[..., Tensor] = _MixedProduct.apply
    return apply(mix, left, right, weights, momentum, x)


class _Written(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        left: Tensor,
        right: Tensor,
        weights: Tensor,
        momentum: Tensor,
        w: Tensor,
        w_s: Tensor,
        w_m: Tensor,
        u: Tensor,
        u_s: Tensor,
    ) -> tuple[Tensor, Tensor]:
        w, w_s, w_m, u, u_s = (x.unsqueeze(-1) for x in (w, w_s, w_m, u, u_s))
        in_weights, in_momentum = left * w, left * u
        new_weights = (in_weights.mT @ right).addcmul_(w_s, momentum).addcmul_(w_m, weights)
        new_momentum = (in_momentum.mT @ right).addcmul_(u_s, momentum)
        ctx.save_for_backward(left, right, weights, momentum, in_weights, in_momentum, w, w_s, w_m, u, u_s)
        return new_weights, new_momentum

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        left, right, weights, momentum, in_weights, in_momentum, w, w_s, w_m, u, u_s = ctx.saved_tensors
        of_weights, of_momentum = grads
        along_w, along_u = right @ of_weights.mT, right @ of_momentum.mT
        flat = (weights.flatten(-2), momentum.flatten(-2), of_weights.flatten(-2), of_momentum.flatten(-2))
        m, s, d_m, d_s = flat
        return (
            (along_w * w).addcmul_(along_u, u),
            (in_weights @ of_weights).add_(in_momentum @ of_momentum),
            w_m * of_weights,
            (w_s * of_weights).addcmul_(u_s, of_momentum),
            vecdot(left, along_w),
            vecdot(s, d_m).unsqueeze(-1),
            vecdot(m, d_m).unsqueeze(-1),
            vecdot(left, along_u),
            vecdot(s, d_s).unsqueeze(-1),
        )


class _MixedProduct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, mix: Tensor, left: Tensor, right: Tensor, weights: Tensor, momentum: Tensor, x: Tensor
    ) -> Tensor:
        inside, share, decay = mix[..., :-2], mix[..., -2:-1], mix[..., -1:]
        near = x @ right.mT
        within = near * inside
        found = (within @ left).addcmul_(share, x @ momentum.mT).addcmul_(decay, x @ weights.mT)
        ctx.save_for_backward(mix, left, right, weights, momentum, x, near, within)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        mix, left, right, weights, momentum, x, near, within = ctx.saved_tensors
        inside, share, decay = mix[..., :-2], mix[..., -2:-1], mix[..., -1:]
        y, of_mix = grads[0].contiguous(), torch.empty_like(mix)
        of_within = y @ left.mT
        torch.mul(of_within, near, out=of_mix[..., :-2])
        of_near = of_within.mul_(inside)
        of_momentum, of_weights = y @ momentum, y @ weights
        of_mix[..., -2], of_mix[..., -1] = vecdot(x, of_momentum), vecdot(x, of_weights)
        of_x = (of_near @ right).addcmul_(share, of_momentum).addcmul_(decay, of_weights)
        return (
            of_mix,
            within.mT @ y,
            of_near.mT @ x,
            (decay * y).mT @ x,
            (share * y).mT @ x,
            of_x,
        )
