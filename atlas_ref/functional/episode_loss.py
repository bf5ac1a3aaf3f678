"""The loss of an episode: what is stored is learned as a text, what is retrieved counts for its weight.

    loss = w_s mean(-log softmax(logits)[target]) over storage + w_r mean(the same) over masked answers

The mean of a phase that nothing is scored in counts as zero. As one sum over all N targets, each with a weight

    u = w N / n,    n the targets of its phase

so that a batch that is cut into parts by rows has the gradient of the whole one.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

IGNORED = -100


def target_weights(
    targets: Int[Tensor, "batch time"], retrieved: Bool[Tensor, "batch time"], storage: float, retrieval: float
) -> Float[Tensor, "batch time"]:
    """Return u of every target, 0 where nothing is scored; `storage` and `retrieval` are w_s and w_r; in float64."""
    scored = targets != IGNORED
    asked, told = scored & retrieved, scored & ~retrieved
    count = scored.sum()
    each = [w * count.double() / part.sum().clamp(min=1) for w, part in ((storage, told), (retrieval, asked))]
    return torch.where(asked, each[1], torch.where(told, each[0], 0.0))


def weighted_loss(
    logits: Float[Tensor, "batch time vocab"],
    targets: Int[Tensor, "batch time"],
    weight: Float[Tensor, "batch time"],
) -> Float[Tensor, ""]:
    """Return the sum of u times the cross-entropy in nats; a target of -100 is not looked at.

    The softmax is in fp32 or wider whatever the logits are.
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    each = cross_entropy(wide.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none")
    return (each * weight.flatten()).sum()
