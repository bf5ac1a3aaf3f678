"""QK-clip: bound attention logits by shrinking the projections that make them (2507.20534; decision `qk-clip`).

Applied after the optimiser's step, head by head. One source system counted the outputs of attention instead and scaled
nothing.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor


def largest_logit(
    queries: Float[Tensor, "batch time heads dim"], keys: Float[Tensor, "batch time heads dim"], *, causal: bool = True
) -> Float[Tensor, " heads"]:
    """Return the largest q_t.k_i / sqrt(dim) of each head over all rows and all i <= t (decision `qk-clip`).

    Not `causal`: over all t and i of a row, as the formula of the report has it (2507.20534 Eq. 4).
    """
    logits = torch.einsum("bthd,bihd->hbti", queries, keys) / math.sqrt(queries.shape[-1])
    if not causal:
        return logits.flatten(1).amax(-1)
    future = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).triu(1)
    return logits.masked_fill(future, -torch.inf).flatten(1).amax(-1)


def largest_in_sight(
    queries: Float[Tensor, "batch time heads dim"],
    keys: Float[Tensor, "batch time heads dim"],
    persistent: Float[Tensor, "tokens heads dim"],
    cache: Float[Tensor, "batch window_minus_1 heads dim"],
    position: Int[Tensor, "batch time"],
) -> Float[Tensor, " heads"]:
    """Return the largest q_t.k / sqrt(dim) of each head over what attention lets t see (decisions `qk-clip`, `window`).

    These are every persistent key, and the keys of age a = 0 .. min(window - 1, position_t), before the call in the
    `cache`. What nobody sees raises nothing, whatever stands there; -inf where no query sees a key.
    """
    window, time = cache.shape[1] + 1, queries.shape[1]
    known = torch.cat([cache, keys], 1)
    seen = [queries.new_full((queries.shape[2], 1), -torch.inf)]
    seen.append(torch.einsum("bthd,nhd->hbtn", queries, persistent).flatten(1))
    for age in range(window):
        products = (queries * known[:, window - 1 - age : window - 1 - age + time]).sum(-1)
        in_sight = (position >= age).unsqueeze(-1)
        seen.append(torch.where(in_sight, products, -torch.inf).movedim(-1, 0).flatten(1))
    return torch.cat(seen, 1).amax(1) / math.sqrt(queries.shape[-1])


def largest_in_blocks(
    queries: Float[Tensor, "batch time heads dim"],
    keys: Float[Tensor, "batch time heads dim"],
    cache: Float[Tensor, "batch window_minus_1 heads dim"],
    position: Int[Tensor, "batch time"],
) -> Float[Tensor, " heads"]:
    """Return what `largest_in_sight` does without persistent keys, in one product for each window of queries.

    It is quicker where windows are long, and needs memory for the logits of a window of queries.
    """
    window, time = cache.shape[1] + 1, queries.shape[1]
    known, found = torch.cat([cache, keys], 1), []
    for first in range(0, time, window):
        asking = queries[:, first : first + window]
        span = known[:, first : first + asking.shape[1] + window - 1]
        index = torch.arange(span.shape[1], device=queries.device)
        age = index[: asking.shape[1]].unsqueeze(1) + (window - 1) - index
        places = position[:, first : first + window].unsqueeze(-1)
        sight = (age >= 0) & (age < window) & (age <= places)
        logits = torch.einsum("bthd,bihd->bhti", asking, span)
        found.append(torch.where(sight.unsqueeze(1), logits, -torch.inf).amax((0, 2, 3)))
    return torch.stack(found).amax(0) / math.sqrt(queries.shape[-1])


def qk_clip(
    query_weight: Float[Tensor, "heads dim model"],
    key_weight: Float[Tensor, "heads dim model"],
    maximum: Float[Tensor, " heads"],
    threshold: float,
) -> tuple[Float[Tensor, "heads dim model"], Float[Tensor, "heads dim model"]]:
    """Return both projections times sqrt(gamma), gamma = min(1, threshold / maximum) head by head (decision `qk-clip`).

    The largest logit of a clipped head becomes exactly the threshold; a head at or below it is left alone.
    """
    gamma = torch.where(maximum > threshold, threshold / torch.where(maximum > threshold, maximum, 1.0), 1.0)
    factor = gamma.sqrt().reshape(-1, 1, 1)
    return factor * query_weight, factor * key_weight
