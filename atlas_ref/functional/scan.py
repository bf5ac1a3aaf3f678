"""Linear scans with data-dependent decay: the recurrences of momentum and retention, token after token.

    x_t = d_t x_{t-1} + r_t

Run on coordinates instead of states, such a recurrence makes the matrices of a whole chunk (`memory.chunked`): with
r_t the t-th unit vector row t of x is the decay products d_{i+1} ... d_t. That needs as many products as the matrix has
entries, no logarithm and no exponential: a decay of exactly 0 or 1 is exact, nothing overflows, and the gradient, which
is the same recurrence backwards, divides by nothing.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


def _forwards(decay: Tensor, states: Tensor) -> Tensor:
    """Return x_t = d_t x_{t-1} + r_t in the place of r_t, where the first has its past already."""
    for d, x, before in zip(decay[1:].unsqueeze(-1).unbind(), states[1:].unbind(), states.unbind(), strict=False):
        x.addcmul_(d, before)
    return states


def _backwards(decay: Tensor, adjoint: Tensor) -> Tensor:
    """Return y_t = dL/dx_t + d_{t+1} y_{t+1} in the place of dL/dx_t, the derivative in r_t."""
    rows, decays = adjoint.unbind(), decay.unsqueeze(-1).unbind()
    for t in range(len(rows) - 1, 0, -1):
        rows[t - 1].addcmul_(decays[t], rows[t])
    return adjoint


class _LinearScan(torch.autograd.Function):
    """All x_t, time first; the derivative is the adjoint recurrence, written out."""

    @staticmethod
    def forward(ctx: Any, decay: Tensor, inputs: Tensor, initial: Tensor) -> Tensor:
        states = inputs.clone()
        states[0].addcmul_(decay[0].unsqueeze(-1), initial)
        ctx.save_for_backward(decay, initial, _forwards(decay, states))
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        decay, initial, states = ctx.saved_tensors
        found = _backwards(decay, grads[0].clone())
        first = torch.linalg.vecdot(found[:1], initial.unsqueeze(0))
        of_decay = torch.cat([first, torch.linalg.vecdot(found[1:], states[:-1])])
        return of_decay, found, decay[0].unsqueeze(-1) * found[0]


def linear_scan(
    decay: Float[Tensor, " time *batch"],
    inputs: Float[Tensor, "time *batch dim"],
    initial: Float[Tensor, "*batch dim"],
) -> Float[Tensor, "time *batch dim"]:
    """Return every state of x_t = d_t x_{t-1} + r_t, x_0 = `initial` (derived; Titans 2501.00663 Eq. 16).

    Time comes first, and `time` is at least 1: one step of the loop is one operation on all rows.
    """
    apply: Callable[[Tensor, Tensor, Tensor], Tensor] = _LinearScan.apply
    return apply(decay, inputs, initial)


def _band(rows: Tensor, window: int, step: int) -> Tensor:
    """Return the columns t step ... t step + window - 1 of each row t: a view [time, *batch, window]."""
    return rows.unfold(-1, window, step).diagonal(dim1=0, dim2=-2).movedim(-1, 0)


class _CoordinateScan(torch.autograd.Function):
    """The last U and the last W, and all W; the derivative is both adjoint recurrences, that of W first."""

    @staticmethod
    def forward(
        ctx: Any, momentum: Tensor, retention: Tensor, taken: Tensor, release: Tensor, step: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        time, window = len(taken), taken.shape[-1]
        columns = (time - 1) * step + window
        u = taken.new_zeros(*taken.shape[:-1], columns + 1)
        _band(u[..., :-1], window, step).copy_(taken)
        u[0, ..., -1] = momentum[0]
        _forwards(momentum, u)
        w = taken.new_empty(*taken.shape[:-1], columns + 2)
        torch.mul(release.unsqueeze(-1), u, out=w[..., :-1])
        w[..., -1].zero_()
        w[0, ..., -1] = retention[0]
        _forwards(retention, w)
        ctx.save_for_backward(momentum, retention, release, u, w)
        ctx.band = window, step
        return u[-1].clone(), w[-1].clone(), w

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        momentum, retention, release, u, w = ctx.saved_tensors
        of_w = torch.empty_like(w).copy_(grads[2])
        of_w[-1] += grads[1]
        _backwards(retention, of_w)
        of_u = release.unsqueeze(-1) * of_w[..., :-1]
        of_u[-1] += grads[0]
        _backwards(momentum, of_u)
        # Before the first token U and W have one in the coordinates of S and of M, which are last.
        of_momentum, of_retention = (
            torch.cat([y[:1, ..., -1], torch.linalg.vecdot(y[1:], x[:-1])]) for y, x in ((of_u, u), (of_w, w))
        )
        of_taken = _band(of_u[..., :-1], *ctx.band).contiguous()
        return of_momentum, of_retention, of_taken, torch.linalg.vecdot(of_w[..., :-1], u), None


def coordinate_scan(
    momentum: Float[Tensor, " time *batch"],
    retention: Float[Tensor, " time *batch"],
    taken: Float[Tensor, "time *batch window"],
    release: Float[Tensor, " time *batch"],
    step: int,
) -> tuple[
    Float[Tensor, "*batch columns_s"], Float[Tensor, "*batch columns_sm"], Float[Tensor, "time *batch columns_sm"]
]:
    """Return the last U, the last W and every W of momentum and retention, one behind the other (derived).

        U_t = theta_t U_{t-1} + R_t,        W_t = alpha_t W_{t-1} + release_t [U_t, 0],

    where row R_t has `taken[t]` in the columns t step ... t step + window - 1 and zeros elsewhere. The last column of U
    stands for S and that of W for M before the first token: there U_{-1} and W_{-1} are one, and zero elsewhere.
    """
    apply: Callable[..., tuple[Tensor, Tensor, Tensor]] = _CoordinateScan.apply
    return apply(momentum, retention, taken, release, step)
