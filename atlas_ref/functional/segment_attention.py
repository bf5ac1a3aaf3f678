"""Attention within a segment: over the tokens of the segment so far, and over whatever else stands beside them.

MAC (Titans 2501.00663 section 4.1) lets a token see the tokens of its own segment, rows read from the memory and
persistent tokens. A segment has C tokens and is counted from the start of its context; `phase` is the index of a token
in its segment, so a query sees the keys of age 0 .. phase and no older ones.

Positional rotation is the caller's. What a query does not see counts for nothing even where it is infinite or NaN.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from atlas_ref.functional.sight import sees_bad, spoil, take_out_bad


def segment_sight(phase: Int[Tensor, "batch time"], past: int) -> Bool[Tensor, "batch time keys"]:
    """Return which of `past` older tokens and of the tokens of a call each token sees: those of age 0 .. its phase."""
    time = phase.shape[1]
    index = torch.arange(past + time, device=phase.device)
    age = index[past:].unsqueeze(1) - index
    return (age >= 0) & (age <= phase.unsqueeze(-1))


def attention_in_sight(
    queries: Float[Tensor, "batch time heads dim"],
    keys: Float[Tensor, "batch keys heads dim"],
    values: Float[Tensor, "batch keys heads dim"],
    sight: Bool[Tensor, "batch time keys"],
) -> Float[Tensor, "batch time heads dim"]:
    """Return softmax attention with scale 1/sqrt(dim) of every query over the keys in its sight, one at least."""
    seen = sight.unsqueeze(1)
    (queries, bad_query), (keys, bad_key), (values, bad_value) = (take_out_bad(x) for x in (queries, keys, values))
    output = scaled_dot_product_attention(
        queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2), attn_mask=seen
    )
    bad = (bad_key | bad_value).transpose(1, 2)
    output = spoil(output, sees_bad(seen, bad, output.dtype).unsqueeze(-1)).transpose(1, 2)
    return spoil(output, bad_query.unsqueeze(-1))


def largest_logit_in_sight(
    queries: Float[Tensor, "batch time heads dim"],
    keys: Float[Tensor, "batch keys heads dim"],
    sight: Bool[Tensor, "batch time keys"],
) -> Float[Tensor, " heads"]:
    """Return the largest q.k / sqrt(dim) of each head over all pairs in sight."""
    logits = torch.einsum("bthd,bkhd->bhtk", queries, keys) / queries.shape[-1] ** 0.5
    largest: Tensor = logits.masked_fill(~sight.unsqueeze(1), -torch.inf).transpose(0, 1).flatten(1).amax(1)
    return largest
