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


class _LinearScan(torch.autograd.Function):
    """All x_t, time first; the derivative is the adjoint recurrence y_t = dL/dx_t + d_{t+1} y_{t+1}, written out."""

    @staticmethod
    def forward(ctx: Any, decay: Tensor, inputs: Tensor, initial: Tensor) -> Tensor:
        states = torch.empty_like(inputs)
        state = initial
        for x, d, r in zip(states.unbind(), decay.unsqueeze(-1).unbind(), inputs.unbind(), strict=True):
            state = torch.addcmul(r, d, state, out=x)
        ctx.save_for_backward(decay, initial, states)
        return states

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        decay, initial, states = ctx.saved_tensors
        later = decay.unsqueeze(-1)
        adjoint = list(grads[0].unbind())
        for t in range(len(adjoint) - 1, 0, -1):
            adjoint[t - 1] = torch.addcmul(adjoint[t - 1], later[t], adjoint[t])
        found = torch.stack(adjoint)
        before = torch.cat([initial.unsqueeze(0), states[:-1]])
        return torch.linalg.vecdot(found, before), found, later[0] * found[0]


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
