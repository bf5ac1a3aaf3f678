"""The update frequency: window losses are gathered and written once every N tokens.

Decision 18. The token at position p of its document writes when (p + 1) mod N = 0, so the count begins again with the
document. It writes the Omega losses (`window`) of the last N tokens together, all with gradients at its own anchor:

    g_t = sum_{j=0}^{N-1} sum_{a=0}^{c-1} gamma[t-j, a] grad l(xi; k_{t-j-a}, v_{t-j-a})
        = sum_{A=0}^{c+N-2} Gamma[t, A] grad l(xi; k_{t-A}, v_{t-A}),   Gamma[t, A] = sum_{j=0}^{N-1} gamma[t-j, A-j],

which is one window of c + N-1 tokens. Every other token leaves M and S as they are; N = 1 is a write at every token.
All N tokens lie in one document, as the writing token has at least N-1 tokens of it behind it.

Notation: c = window length, a and A = age of a pair, j = age of a loss, gamma in [0, 1], zero where nothing is seen.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from atlas_ref.functional.window import recent


def writing_tokens(position: Int[Tensor, "batch time"], every: int) -> Bool[Tensor, "batch time"]:
    """Return which tokens write: those at the end of N = `every` tokens, counted from the start of their document."""
    return (position + 1) % every == 0


def gathered_window(
    weights: Float[Tensor, "batch gathered heads window"], position: Int[Tensor, "batch time"], every: int
) -> Float[Tensor, "batch time heads span"]:
    """Return Gamma of each writing token and zero for the others, span = c + N-1 (module docstring).

    `weights` are the gamma of the N-1 tokens before the call and of its own tokens, gathered = N-1 + time.
    """
    window = weights.shape[-1]
    total = weights.new_zeros(*position.shape, weights.shape[2], window + every - 1)
    for age in reversed(range(window)):
        # Of each of the last N tokens, the newest first, the weight of the pair of this age.
        recent_first = weights[..., age].unfold(1, every, 1).flip(-1)
        total = total + F.pad(recent_first, (age, window - 1 - age))
    return torch.where(writing_tokens(position, every)[:, :, None, None], total, 0.0)


def waiting_losses(
    weights: Float[Tensor, "batch gathered heads window"], seen: Int[Tensor, " batch"], every: int
) -> Float[Tensor, "batch waiting heads window"]:
    """Return the gamma of the tokens since the last write, oldest first, zeros before them, waiting = N-1.

    `seen` is the number of tokens of the document up to and including the last one.
    """
    return recent(seen % every, every - 1, weights)[0]
