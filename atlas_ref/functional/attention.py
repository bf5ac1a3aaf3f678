"""Causal sliding-window attention with persistent tokens, in blocks of queries.

Titans (arXiv 2501.00663) section 4.2: persistent tokens are learned keys and values that every query sees; the window
bounds how far back the rest of the sequence is seen.

Notation
    W          window: a query sees itself and the W-1 tokens before it
    age        how many tokens ago a key was; it is of the query's document iff age <= position of the query
    S          queries in one block, min(W, time): a block sees S + W - 1 keys, so work and memory are linear in time

Positional rotation, if any, is the caller's: cached keys are kept as they were given. What a query does not see counts
for nothing even where it is infinite or NaN (`sight`).
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from atlas_ref.errors import UserError
from atlas_ref.functional.dropout import Drop, kept, select
from atlas_ref.functional.looking import surely_at_least
from atlas_ref.functional.normalize import at_least_float32, of_dtype
from atlas_ref.functional.sight import sees_bad, spoil, surely_finite, take_out_bad

Cached = Float[Tensor, "batch window_minus_1 heads dim"]
Sequence = Float[Tensor, "batch time heads dim"]
Persistent = Float[Tensor, "tokens heads dim"]


def _filled(tokens: Tensor, fill: int) -> Tensor:
    """Return [batch, time, ...] with `fill` tokens of zero at its end."""
    return torch.cat([tokens, tokens.new_zeros(tokens.shape[0], fill, *tokens.shape[2:])], 1) if fill else tokens


def _blocks(extended: Tensor, size: int, span: int, count: int, persistent: Tensor) -> Tensor:
    """Cut cache and sequence into overlapping spans behind the persistent tokens: [batch*count, heads, keys, dim]."""
    if count == 1:
        # All of it is one span, as in decoding.
        shared = persistent.to(extended.dtype).expand(extended.shape[0], -1, -1, -1)
        return torch.cat([shared, extended], dim=1).transpose(1, 2)
    # What is older than the block, and the block: put together from stretches, which have simpler gradients than views
    # that overlap.
    older = torch.unflatten(extended[:, : count * size], 1, (count, size))[:, :, : span - size]
    own = torch.unflatten(extended[:, span - size :], 1, (count, size))
    shared = persistent.to(extended.dtype).expand(*own.shape[:2], -1, -1, -1)
    return torch.cat([shared, older, own], dim=2).flatten(0, 1).transpose(1, 2)


def _bad_in_blocks(
    bad: Bool[Tensor, "batch span_of_all heads"], size: int, span: int, count: int, tokens: int
) -> Bool[Tensor, "rows heads keys"]:
    """Say which of the persistent tokens, which are never bad, and of the keys of each block are bad."""
    if count == 1:
        return pad(bad.transpose(1, 2), (tokens, 0))
    return pad(bad.unfold(1, span, size).flatten(0, 1), (tokens, 0))


def _visible(position: Int[Tensor, "rows size"], window: int, tokens: int) -> Bool[Tensor, "rows 1 size keys"]:
    """Say which of the persistent tokens and of the size + window - 1 keys of its block each query sees."""
    size = position.shape[1]
    index = torch.arange(size, device=position.device)
    key = torch.arange(size + window - 1, device=position.device)
    age = index.unsqueeze(1) + (window - 1) - key
    seen = age <= position.unsqueeze(-1)
    if size > 1:
        # A query alone has no key of its block that is later than itself, or too far.
        seen = seen & (age >= 0) & (age < window)
    return pad(seen, (tokens, 0), value=True).unsqueeze(1)


def _pairs(
    drop: Drop, count: int, heads: int, size: int, window: int, tokens: int
) -> Int[Tensor, "count heads size keys"]:
    """Return the number of each query and key for dropout: by head, place of the query, and age or persistent token."""

    def upto(end: int) -> Tensor:
        return torch.arange(end, dtype=torch.int32, device=drop.keys.device)

    age = upto(size).unsqueeze(1) + (window - 1) - upto(size + window - 1)
    other = torch.cat([upto(tokens).expand(size, -1), tokens + age], 1)
    query = (drop.first + upto(count * size)).view(count, 1, size, 1)
    return (query * heads + upto(heads).view(-1, 1, 1)) * (tokens + window) + other


def _attend(
    queries: Float[Tensor, "rows heads size dim"],
    keys: Float[Tensor, "rows heads keys dim"],
    values: Float[Tensor, "rows heads keys dim"],
    sight: Bool[Tensor, "rows 1 size keys"],
    drop: Drop | None,
    window: int,
) -> Float[Tensor, "rows heads size dim"]:
    """Return softmax attention of the pairs in sight; with `drop` of the weights that it leaves, scaled up."""
    if drop is None:
        return scaled_dot_product_attention(queries, keys, values, attn_mask=sight)
    rows, heads, size, dim = queries.shape
    logits = at_least_float32(queries @ keys.mT) / dim**0.5
    weights = logits.masked_fill(~sight, -torch.inf).softmax(-1)
    pairs = _pairs(drop, rows // len(drop.keys), heads, size, window, keys.shape[2] - size - window + 1)
    stays = kept(drop.keys, pairs, drop.rate).flatten(0, 1)
    return select(weights, stays, drop.rate).to(values.dtype) @ values


def _behind(persistent: Persistent, cache: Cached, own: Sequence) -> Float[Tensor, "batch seen heads dim"]:
    """Return what a token sees of its own and behind that of the cache and the persistent tokens."""
    before = [of_dtype(cache, own.dtype)]
    if len(persistent):
        before.insert(0, of_dtype(persistent, own.dtype).expand(len(own), -1, -1, -1))
    return torch.cat([*before, own], 1)


def _one_query(
    queries: Float[Tensor, "batch 1 heads dim"],
    keys: Float[Tensor, "batch seen heads dim"],
    values: Float[Tensor, "batch seen heads dim"],
    position: Int[Tensor, "batch 1"],
    window: int,
) -> Float[Tensor, "batch 1 heads dim"]:
    """Return what a call of one token a row sees, each key selected by itself unless it is seen that all are there.

    Keys and values begin with those of the persistent tokens, and the others are a `window`. For decoding: what is not
    finite would have a gradient here.
    """
    hidden = None
    if not surely_at_least(window - 1, position):
        hidden = torch.arange(window - 1, -1, -1, device=position.device) > position
        hidden = pad(hidden, (keys.shape[1] - window, 0), value=False)
        values = values.masked_fill(hidden[..., None, None], 0.0)
    logits = (queries.transpose(1, 2) / queries.shape[-1] ** 0.5) @ keys.permute(0, 2, 3, 1)
    # 0 x is 0, or NaN where x is not finite: what sees anything bad is NaN, even where its weight would be zero.
    logits = torch.add(logits, logits, alpha=0.0)
    if hidden is not None:
        logits = logits.masked_fill(hidden[:, None, None], -torch.inf)
    output = logits.softmax(-1) @ values.transpose(1, 2)
    return torch.add(output, output, alpha=0.0).transpose(1, 2)


def sliding_window_attention(
    queries: Sequence,
    keys: Sequence,
    values: Sequence,
    persistent_keys: Persistent,
    persistent_values: Persistent,
    cache_keys: Cached,
    cache_values: Cached,
    position: Int[Tensor, "batch time"],
    window: int,
    drop: Drop | None = None,
) -> tuple[Sequence, Cached, Cached]:
    """Return (output, new key cache, new value cache) of softmax attention with scale 1/sqrt(dim).

    Query t sees every persistent token and the tokens of age 0 .. min(window - 1, position_t). The caches hold the last
    window - 1 keys and values, so any split of a sequence into calls gives the same output, one token a call included.
    `drop` leaves some of the weights out, as training may.
    Raises UserError when the window is not positive or the caches do not hold window - 1 tokens.
    """
    batch, time, heads, dim = queries.shape
    if window < 1 or cache_keys.shape[1] != window - 1:
        raise UserError(f"attention: a window of {window} needs a cache of window - 1, not {cache_keys.shape[1]}")
    if time == 1 and drop is None and not torch.is_grad_enabled():
        seen_keys = _behind(persistent_keys, cache_keys, keys)
        seen_values = _behind(persistent_values, cache_values, values)
        found = _one_query(queries, seen_keys, seen_values, position, window)
        older = len(persistent_keys) + 1
        after_keys = of_dtype(seen_keys[:, older:], cache_keys.dtype)
        return found, after_keys, of_dtype(seen_values[:, older:], cache_values.dtype)
    all_keys = torch.cat([cache_keys.to(keys.dtype), keys], dim=1)
    all_values = torch.cat([cache_values.to(values.dtype), values], dim=1)
    # Views: what a caller keeps of them (`window.recent`) must not keep the whole sequence alive.
    new_caches = all_keys[:, time:].to(cache_keys.dtype), all_values[:, time:].to(cache_values.dtype)
    if time == 0:
        return values, *new_caches
    size = min(window, time)
    count = -(-time // size)
    fill, span = count * size - time, size + window - 1
    # The filled queries see only their own zero key, so that no row of the mask is empty.
    sight = _visible(_filled(position, fill).reshape(batch * count, size), window, persistent_keys.shape[0])
    spoilt = None
    if not surely_finite(queries, all_keys, all_values):
        queries, spoilt = take_out_bad(queries)
        all_keys, bad_key = take_out_bad(all_keys)
        all_values, bad_value = take_out_bad(all_values)
        bad = _bad_in_blocks(_filled(bad_key | bad_value, fill), size, span, count, persistent_keys.shape[0])
        seen = sees_bad(sight, bad, queries.dtype).transpose(1, 2).reshape(batch, count * size, heads)[:, :time]
        spoilt = spoilt | seen
    output = _attend(
        _filled(queries, fill).reshape(batch * count, size, heads, dim).transpose(1, 2),
        _blocks(_filled(all_keys, fill), size, span, count, persistent_keys),
        _blocks(_filled(all_values, fill), size, span, count, persistent_values),
        sight,
        drop,
        window,
    )
    output = output.transpose(1, 2).reshape(batch, count * size, heads, dim)[:, :time]
    return output if spoilt is None else spoil(output, spoilt.unsqueeze(-1)), *new_caches
