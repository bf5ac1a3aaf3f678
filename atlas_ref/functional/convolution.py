"""Short causal convolution over time, one filter a channel, with its tail carried between calls.

Queries, keys and values each pass through one of kernel 4 (Titans, 2501.00663, section 4.4; decision `addresses`).

Notation
    x_t       input at time t
    w         weight, channels x kernel; w[:, K-1] multiplies the present token, as in torch.nn.Conv1d
    tail      the last K-1 inputs of the previous call, oldest first; zeros at the very start

Documents never mix: a token's filter reaches back no further than its `position`, its index within its document, and
what lies before counts for nothing even where it is infinite or NaN (`sight`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d, conv_transpose2d

from atlas_ref.functional.looking import may_look, surely_at_least
from atlas_ref.functional.normalize import of_dtype
from atlas_ref.functional.sight import not_finite, spoil, surely_finite


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
    if time == 1 and not torch.is_grad_enabled():
        return _one_token(x, weight, tail, position)
    last = x[:, max(0, time - kernel + 1) :]
    new_tail = torch.cat([tail, last], dim=1)[:, last.shape[1] :]
    if time == 0:
        return x, new_tail
    padded = torch.cat([_of_the_document(tail, position), x], dim=1)
    weight = weight.to(padded.dtype)
    if not may_look():
        return _selected(padded, weight, position).to(x.dtype), new_tail
    bad = None if surely_finite(padded) else not_finite(padded)
    if bad is not None:
        padded = torch.where(bad, 0.0, padded)
    y = _filtered(padded, weight)
    short = _short_filters(position, kernel) if time > 1 else None
    if short is not None:
        row, token = short.row.squeeze(-1), short.place[:, -1] - (kernel - 1)
        y = y.index_put((row, token), (short.select(padded) * weight.T).sum(1))
    if bad is not None:
        hit = bad.unfold(1, kernel, 1).any(-1)
        y = spoil(y, hit if short is None else hit.index_put((row, token), short.select(bad).any(1)))
    return y.to(x.dtype), new_tail


def _of_the_document(tail: Tensor, position: Int[Tensor, "batch time"]) -> Tensor:
    """Return the tail with zeros where it is not of the document of the first token."""
    age = torch.arange(tail.shape[1], 0, -1, device=tail.device)
    return torch.where((age <= position[:, :1]).unsqueeze(-1), tail, 0.0)


def _one_token(x: Tensor, weight: Tensor, tail: Tensor, position: Int[Tensor, "batch 1"]) -> tuple[Tensor, Tensor]:
    """Return what `short_convolution` does of a call of decoding; what is not finite would have a gradient here."""
    window = padded = torch.cat([tail, x], dim=1)
    if not surely_at_least(tail.shape[1], position):
        window = torch.cat([_of_the_document(tail, position), x], dim=1)
    y = (window * weight.T).sum(1, keepdim=True)
    # 0 y is 0, or NaN where y is not finite: what sees anything bad is NaN, as in longer calls.
    return of_dtype(torch.add(y, y, alpha=0.0), x.dtype), padded[:, 1:]


def _filtered(padded: Tensor, weight: Tensor) -> Tensor:
    """Return the filter of every token as if all were of one document."""
    kernel = weight.shape[1]
    if padded.shape[1] < 2 * kernel:
        # A call of a few tokens, as in decoding, is over before a convolution has begun.
        return (padded.unfold(1, kernel, 1) * weight).sum(-1)
    apply: Callable[[Tensor, Tensor], Tensor] = _Convolved.apply
    return apply(padded, weight)


class _Convolved(torch.autograd.Function):
    """A depthwise convolution over rows of height one: channels last is the layout of x and by far the fastest here.

    Its derivative in the inputs is the transposed convolution; that in the weights, a product of sequences for each
    tap, is what torch is slow at.
    """

    @staticmethod
    def forward(ctx: Any, padded: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(padded, weight)
        return conv2d(_rows(padded), weight[:, None, None, :], groups=len(weight)).squeeze(2).transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        padded, weight = ctx.saved_tensors
        of_padded = conv_transpose2d(_rows(grads[0]), weight[:, None, None, :], groups=len(weight))
        taps, product = padded.unfold(1, grads[0].shape[1], 1).mT.unbind(1), torch.empty_like(grads[0])
        of_weight = [torch.mul(grads[0], tap, out=product).sum((0, 1)) for tap in taps]
        return of_padded.squeeze(2).transpose(1, 2), torch.stack(of_weight, -1)


def _rows(x: Tensor) -> Tensor:
    """Return [batch, time, channels] as rows of height one, channels last."""
    return x.transpose(1, 2).unsqueeze(2).contiguous(memory_format=torch.channels_last)


def _selected(padded: Tensor, weight: Tensor, position: Int[Tensor, "batch time"]) -> Tensor:
    """Return the filter of every token, each input selected by itself: what is right without a look at any number."""
    kernel, time = weight.shape[1], position.shape[1]
    total = padded[:, kernel - 1 :] * weight[:, kernel - 1]
    for age in range(1, kernel):
        start = kernel - 1 - age
        inside = (position >= age).unsqueeze(-1)
        total = total + torch.where(inside, padded[:, start : start + time], 0.0) * weight[:, start]
    return total


class _Filters(NamedTuple):
    """The inputs under some filters, oldest first: where they stand, and which are of the filter's document."""

    row: Int[Tensor, "filters 1"]
    place: Int[Tensor, "filters kernel"]
    inside: Bool[Tensor, "filters kernel 1"]

    def select(self, padded: Tensor) -> Tensor:
        """Return the inputs [filters, kernel, channels], zero where they are of another document."""
        return torch.where(self.inside, padded[self.row, self.place], 0)


def _short_filters(position: Int[Tensor, "batch time"], kernel: int) -> _Filters | None:
    """Return the filters that would reach before a document that begins behind the first token; None: there are none.

    What lies before the call is not seen of such a filter's document: that is zero already.
    """
    reach = torch.arange(position.shape[1], device=position.device).clamp(max=kernel - 1)
    row, token = (position < reach).nonzero(as_tuple=True)
    if row.numel() == 0:
        return None
    age = torch.arange(kernel - 1, -1, -1, device=position.device)
    place, inside = token.unsqueeze(-1) + kernel - 1 - age, age <= position[row, token].unsqueeze(-1)
    return _Filters(row.unsqueeze(-1), place, inside.unsqueeze(-1))
