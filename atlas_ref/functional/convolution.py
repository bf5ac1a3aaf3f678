"""Short causal convolution over time, one filter a channel, with its tail carried between calls.

Queries, keys and values each pass through one of kernel 4 (Titans, arXiv 2501.00663, section 4.4; decision 10).

Notation
    x_t       input at time t
    w         weight, channels x kernel; w[:, K-1] multiplies the present token, as in torch.nn.Conv1d
    tail      the last K-1 inputs of the previous call, oldest first; zeros at the very start

Documents never mix: a token's filter reaches back no further than its `position`, its index within its document.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def short_convolution(
    x: Float[Tensor, "batch time channels"],
    weight: Float[Tensor, "channels kernel"],
    tail: Float[Tensor, "batch kernel_minus_1 channels"],
    position: Int[Tensor, "batch time"],
) -> tuple[Float[Tensor, "batch time channels"], Float[Tensor, "batch kernel_minus_1 channels"]]:
    """Return (y, new tail) of y_t = sum_j w[:, K-1-j] x_{t-j} over 0 <= j <= min(K-1, position_t).

    Any split of a sequence into calls gives the same y: the new tail is the last K-1 inputs, over as many calls as they
    take. Computed in the widest dtype given; y has the dtype of x, the tail is never narrower than it was.
    """
    time, kernel = x.shape[1], weight.shape[1]
    padded = torch.cat([tail, x], dim=1)
    y = x * weight[:, kernel - 1]
    for age in range(1, kernel):
        earlier = padded[:, kernel - 1 - age : kernel - 1 - age + time]
        same_document = (position >= age).unsqueeze(-1)
        # Selected, not multiplied by zero: whatever another document left there, infinities included, must not count.
        y = y + torch.where(same_document, earlier, 0.0) * weight[:, kernel - 1 - age]
    # Copied, so that the state does not keep the whole sequence alive.
    return y.to(x.dtype), padded[:, time:].clone()
