"""Cross-entropy of a head with a large vocabulary, some tokens at a time: logits are never all there at once.

    l = sum_n log sum_v exp(w_v . h_n) - w_{t_n} . h_n over scored n,    dl/dz_nv = softmax(z_n)_v - [v = t_n]

The gradient of a sum is known where the loss is, so it is made there, and a backward pass only scales it: logits of a
part of the tokens are made once and forgotten. The reference is `tasks.language.token_losses` of all logits, from which
this differs by the order in which parts of the gradient of the head are added.
"""

from collections.abc import Callable
from typing import Any, Final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from atlas_ref.functional.normalize import at_least_float32

LARGE: Final = 8192
"""Tokens of a vocabulary from which on logits are large beside all else."""
HELD: Final = 2**25
"""Logits that are there at once."""


def head_loss(
    hidden: Float[Tensor, "tokens model"],
    head: Float[Tensor, "vocab model"],
    targets: Int[Tensor, " tokens"],
    held: int = HELD,
) -> tuple[Float[Tensor, ""], Bool[Tensor, " tokens"]]:
    """Return the summed cross-entropy in nats of targets that are not negative, and where the likeliest is the target.

    Products are in the dtype of what is given, softmax and sums in float32 or wider. `held` is how many logits there
    may be at once.
    """
    apply: Callable[..., tuple[Tensor, Tensor]] = _HeadLoss.apply
    return apply(hidden, head, targets, max(1, held // len(head)))


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        wide = at_least_float32(hidden)
        total, right = wide.new_zeros(()), torch.empty_like(targets, dtype=torch.bool)
        learns = any(ctx.needs_input_grad[:2])
        d_hidden, d_head = torch.empty_like(hidden), torch.zeros_like(head, dtype=wide.dtype)
        with torch.autocast(hidden.device.type, enabled=False):
            for first in range(0, len(hidden), rows):
                part = slice(first, first + rows)
                given, target = hidden[part], targets[part]
                logits = given @ head.mT
                scored, safe = target >= 0, target.clamp(min=0).unsqueeze(1)
                right[part] = logits.argmax(1) == target
                logs = torch.log_softmax(logits, 1, dtype=wide.dtype)
                said = logs.gather(1, safe)
                total -= torch.where(scored, said.squeeze(1), 0.0).sum()
                if learns:
                    slope = logs.exp_().scatter_add_(1, safe, -torch.ones_like(said)).to(hidden.dtype)
                    # What is not scored is left out on the narrow side of both products, not of all logits.
                    unscored = ~scored.unsqueeze(1)
                    d_hidden[part] = (slope @ head).masked_fill_(unscored, 0.0)
                    d_head += slope.mT @ given.masked_fill(unscored, 0.0)
        ctx.save_for_backward(d_hidden, d_head)
        ctx.mark_non_differentiable(right)
        return total, right

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        d_hidden, d_head = ctx.saved_tensors
        scale = grads[0]
        return (d_hidden * scale).to(d_hidden.dtype), (d_head * scale).to(d_hidden.dtype), None, None
