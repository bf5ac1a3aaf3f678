"""StableMax: a softmax that does not saturate (arXiv 2501.04697; decision `stablemax`).

Deliberately different from one source system: there is no floor under the probabilities.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from atlas_ref.errors import UserError
from atlas_ref.functional.normalize import at_least_float32


def stablemax(x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
    """Return s(x_i) / sum_j s(x_j) with s(x) = x + 1 for x >= 0 and 1 / (1 - x) for x < 0 (decision `stablemax`).

    Equal to softmax(sign(x) log(1 + |x|)). Computed in at least float32 and returned in the dtype of `x`. Everything is
    divided by the largest s first, so that entries of 1e38 do not overflow the sum.
    """
    wide = at_least_float32(x)
    # Each branch sees only its own half: the other half of 1 / (1 - x) is a division by zero at x = 1, in the gradient.
    s = torch.where(wide >= 0, wide + 1.0, 1.0 / (1.0 - wide.clamp(max=0.0)))
    s = s / s.amax(-1, keepdim=True).detach()
    return (s / s.sum(-1, keepdim=True)).to(x.dtype)


def log_stablemax(x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
    """Return log s(x_i) - log sum_j s(x_j), log s(x) = log1p(x) for x >= 0 and -log1p(-x) for x < 0 (2501.04697).

    Computed and returned in float64: of a label that is almost certain only the difference of two logarithms is left.
    """
    wide = x.double()
    # As in `stablemax`: each branch sees only its own half.
    logs = torch.where(wide >= 0, wide.clamp(min=0.0).log1p(), -(-wide.clamp(max=0.0)).log1p())
    return logs - logs.logsumexp(-1, keepdim=True)


def stablemax_loss(
    logits: Float[Tensor, "batch time vocabulary"], labels: Int[Tensor, "batch time"], ignored: int = -100
) -> Float[Tensor, " batch"]:
    """Return -sum_t log p[label_t] / n of each row in float64, over its n labels that are not `ignored`; 0 for n = 0.

    p is the StableMax of the logits (2501.04697). Raises UserError for a label that is no index of the vocabulary.
    """
    counted = labels != ignored
    size = logits.shape[-1]
    if ((labels < 0) | (labels >= size))[counted].any():
        raise UserError(f"stablemax_loss: a label is neither {ignored} nor one of 0 to {size - 1}, the last logit")
    logs = log_stablemax(logits).gather(-1, torch.where(counted, labels, 0).unsqueeze(-1)).squeeze(-1)
    return -torch.where(counted, logs, 0.0).sum(-1) / counted.sum(-1).clamp(min=1)
