"""The Omega window: which past tokens a write looks at, and with what weight.

ATLAS (2505.23735) Eq. 9 sums the losses of the last c tokens with a weight per token *and* age:

    g_t = sum_{a = 0}^{c-1} gamma[t, a] * grad l(M; k_{t-a}, v_{t-a}).

Notation: c = window length, a = age (0 is the token itself), gamma in [0, 1]. At the start of a sequence the sum
runs over the tokens that exist. `truncate` is the named alternative in which it stops at the start of the chunk.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

WindowBoundary = Literal["carry", "truncate"]


def visible_window(
    weights: Float[Tensor, "batch time heads window"],
    position: Int[Tensor, "batch time"],
    chunk: int,
    boundary: WindowBoundary,
    hidden: Bool[Tensor, "batch time window"] | None = None,
) -> Float[Tensor, "batch time heads window"]:
    """Zero the weights of ages that reach before the document (`carry`) or before the chunk (`truncate`).

    `position` is the 0-based index of a token in its document; the chunk phase is position mod `chunk`. Those are the
    `hidden` ones, where it is known already which ages `in_sight` leaves out.
    """
    if weights.shape[-1] == 1:
        # A token is in its own document, and in its own chunk.
        return weights
    hidden = ~in_sight(weights.shape[-1], position, chunk, boundary) if hidden is None else hidden
    return weights.masked_fill(hidden.unsqueeze(2), 0.0)


def in_sight(
    window: int, position: Int[Tensor, "*tokens"], chunk: int, boundary: WindowBoundary
) -> Bool[Tensor, "*tokens window"]:
    """Return which ages a token sees: those inside its document (`carry`) or its chunk (`truncate`)."""
    oldest = position if boundary == "carry" else position % chunk
    return torch.arange(window, device=position.device) <= oldest.unsqueeze(-1)


def window_band(weights: Float[Tensor, "*batch time window"]) -> Float[Tensor, "*batch time span"]:
    """Lay the weights of each token along a band: G[t, j] = gamma[t, t + c-1 - j], span = time + c-1.

    Column j of the band is the token c-1 places before column j of the chunk, so that
    g_t = sum_j G[t, j] grad_j is the window sum of ATLAS Eq. 9 as one matrix product.
    """
    *batch, time, window = weights.shape
    span = time + window - 1
    # Row t starts t columns to the right: pad each row to span + 1 and read the buffer in rows of span.
    skewed = F.pad(weights.flip(-1), (0, span + 1 - window)).reshape(*batch, time * (span + 1))
    return skewed[..., : time * span].reshape(*batch, time, span)


def latest(
    before: Float[Tensor, "batch past *rest"], tokens: Float[Tensor, "batch time *rest"]
) -> Float[Tensor, "batch past *rest"]:
    """Return the last of what came before and of the tokens behind it, as many as came before."""
    past, time = before.shape[1], tokens.shape[1]
    return tokens[:, time - past :] if time >= past else torch.cat([before[:, time:].to(tokens.dtype), tokens], 1)


def recent(
    seen: Int[Tensor, " batch"], length: int, *sequences: Float[Tensor, "batch _time _heads _dim"]
) -> tuple[Float[Tensor, "batch length _heads _dim"], ...]:
    """Return the last `length` tokens of each, oldest first, with zeros where a row's document is younger than that.

    `seen` is the number of tokens of the document up to and including the last one; time >= length.
    """
    if length == 0:
        # Copied, so that what is kept does not keep the whole sequence alive.
        return tuple(tokens[:, :0].clone() for tokens in sequences)
    return last_of(older_than(seen, length), *sequences)


def older_than(seen: Int[Tensor, " batch"], length: int) -> Bool[Tensor, "batch length 1 1"]:
    """Return which of the last `length` tokens, oldest first, a document of `seen` tokens does not have."""
    age = torch.arange(length, 0, -1, device=seen.device)
    return (age > seen.unsqueeze(-1))[..., None, None]


def last_of(
    older: Bool[Tensor, "batch length 1 1"], *sequences: Float[Tensor, "batch _time _heads _dim"]
) -> tuple[Float[Tensor, "batch length _heads _dim"], ...]:
    """Return the last `length` tokens of each with zeros where they are `older_than` the document."""
    length = older.shape[1]
    return tuple(torch.where(older, 0.0, tokens[:, tokens.shape[1] - length :]) for tokens in sequences)
