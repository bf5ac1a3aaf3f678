"""What is learned from the answers of a recursion: all of them in one graph, and when to stop.

L = sum_j w_j l_j / sum_j w_j,                  l_j the loss of answer j          (decision `supervision`)
H = sum_{n <= N} BCE(q_n, c_n) / N,             c_n = 1 where answer n is right   (decision `halting`)
N = min {n : sigmoid(q_n) >= threshold}, or the last
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits


def supervised_loss(losses: Float[Tensor, " answers"], weights: Float[Tensor, " answers"]) -> Float[Tensor, ""]:
    """Return sum_j w_j l_j / sum_j w_j: one scalar, so that one backward pass serves all answers (module docstring)."""
    return (weights * losses).sum() / weights.sum()


def first_halt(probabilities: Float[Tensor, "*batch steps"], threshold: float) -> Int[Tensor, "*batch"]:
    """Return N = min {n : h_n >= threshold}, or the last step where there is none (decision `halting`)."""
    reached = (probabilities >= threshold).int()
    return torch.where(reached.any(-1), reached.argmax(-1) + 1, probabilities.shape[-1])


def halt_loss(
    logits: Float[Tensor, "batch steps"], correct: Bool[Tensor, "batch steps"], steps: Int[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """Return the mean over the first N = `steps` steps of the cross-entropy of sigmoid(logit) against `correct`.

    The target is whether the answer of the *same* step is right, and has no gradient; later steps count for nothing,
    whatever stands there. In at least float32, in nats.
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    made = torch.arange(logits.shape[-1], device=logits.device) < steps.unsqueeze(-1)
    # Selected before the logarithm: a step that was not made may hold anything.
    asked = torch.where(made, wide, 0.0)
    each = binary_cross_entropy_with_logits(asked, correct.to(wide.dtype), reduction="none")
    return torch.where(made, each, 0.0).sum(-1) / steps
