"""Short causal convolution over time, one filter a channel, with its tail carried between calls.

Queries, keys and values each pass through one of kernel 4 (Titans, 2501.00663, section 4.4; decision `addresses`).

Notation
    x_t       input at time t
    w         weight, channels x kernel; w[:, K-1] multiplies the present token, as in torch.nn.Conv1d
    tail      the last K-1 inputs of the previous call, oldest first; zeros at the very start

Documents never mix: a token's filter reaches back no further than its `position`, its index within its document, and
what lies before counts for nothing even where it is infinite or NaN (`sight`).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import conv2d

from atlas_ref.functional.sight import spoil


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
    weight = weight.to(padded.dtype)
    # Copied, so that the state does not keep the whole sequence alive.
    new_tail = padded[:, time:].clone()
    if time == 0:
        return x, new_tail
    bad = ~torch.isfinite(padded)
    padded = torch.where(bad, 0.0, padded)
    # A depthwise convolution over rows of height one; channels last is the layout of x and by far the fastest here.
    rows = padded.transpose(1, 2).unsqueeze(2).contiguous(memory_format=torch.channels_last)
    y = conv2d(rows, weight[:, None, None, :], groups=weight.shape[0]).squeeze(2).transpose(1, 2)
    row, token = (position < kernel - 1).nonzero(as_tuple=True)
    if row.numel():
        y = y.index_put((row, token), _first_tokens(padded, weight, position[row, token], row, token))
    return spoil(y, _sees_bad_input(bad, position, kernel)).to(x.dtype), new_tail


def _sees_bad_input(bad: Tensor, position: Tensor, kernel: int) -> Tensor:
    """Return which outputs have an input in their filter, and in their document, that is not finite."""
    time = position.shape[1]
    hits = [bad[:, kernel - 1 - j : kernel - 1 - j + time] & (position >= j).unsqueeze(-1) for j in range(kernel)]
    return torch.stack(hits).any(0)


def _first_tokens(padded: Tensor, weight: Tensor, position: Tensor, row: Tensor, token: Tensor) -> Tensor:
    """Return y at the given tokens, whose filter would reach before their document: the sum stops at its start."""
    kernel = weight.shape[1]
    age = torch.arange(kernel - 1, -1, -1, device=weight.device)
    seen = padded[row.unsqueeze(-1), token.unsqueeze(-1) + kernel - 1 - age]
    seen = torch.where((age <= position.unsqueeze(-1)).unsqueeze(-1), seen, 0.0)
    return (seen * weight.T).sum(1)
