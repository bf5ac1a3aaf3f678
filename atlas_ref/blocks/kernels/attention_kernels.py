"""Softmax attention over a window, block by block on the chip: no weight of a pair is ever stored.

    p_tj = exp(s q_t . k_j - L_t),   o_t = sum_j m_tj p_tj v_j,   m what dropout leaves, scaled up
    D_t = do_t . o_t,   dp_tj = m_tj do_t . v_j,   de_tj = p_tj (dp_tj - D_t)
    dq_t = s sum_j de_tj k_j,   dk_j = s sum_t de_tj q_t,   dv_j = sum_t m_tj p_tj do_t

over the persistent tokens and those in sight (Rabe and Staats, 2112.05682; Dao et al., 2205.14135). L is the logarithm
of the sum of the exponentials, the only thing that is kept beside the output; an L of infinity marks a query that had
something in sight that is not finite (`functional.sight`): its output is NaN and has no gradient. Programs have one
head and a block of queries, or of keys; sums over queries are made in one order, so a gradient is the same each time.
"""

import triton.language as tl

from atlas_ref.blocks.kernels.attention_parts import (
    answered,
    in_sight,
    is_bad,
    rows_of,
    through_pairs,
    tokens_of,
    without,
    without_bad,
)
from atlas_ref.blocks.kernels.dropout_parts import pairs_stay
from atlas_ref.memory.kernels.launching import block_of, compiled


@compiled
def forward(
    q: tl.tensor,
    k: tl.tensor,
    v: tl.tensor,
    old_k: tl.tensor,
    old_v: tl.tensor,
    fixed_k: tl.tensor,
    fixed_v: tl.tensor,
    position: tl.tensor,
    drop_keys: tl.tensor,
    out: tl.tensor,
    logs: tl.tensor,
    TIME: tl.tensor,
    HEADS: tl.tensor,
    TURNED: tl.tensor,
    VALUES: tl.tensor,
    FIXED: tl.tensor,
    BEGIN: tl.tensor,
    LIMIT: tl.tensor,
    SCALE: tl.tensor,
    KEEP: tl.tensor,
    PAST: tl.constexpr,
    PERSISTENT: tl.constexpr,
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    MORE: tl.constexpr,
    DROPS: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Write outputs and L of a block of queries; a row of q and k has TURNED numbers, one of v VALUES.

    What a name stands for before a loop it stands for in the loop: Triton gives it one type.
    """
    row, begin = block_of(TIME, QUERIES)
    head = tl.program_id(1)
    query, width = begin + tl.arange(0, QUERIES), tl.arange(0, WIDTH)
    there, far = query < TIME, row.to(tl.int64)
    turned = far * TIME * TURNED + head * DIM
    q, k, v = q + turned, k + turned, v + far * TIME * VALUES + head * DIM
    cached = (far * PAST * HEADS + head) * DIM
    old_k, old_v = old_k + cached, old_v + cached
    asked = rows_of(q, query, there, width, TURNED, DIM)
    spoilt = is_bad(asked)
    asked = without(asked, spoilt)
    place = tl.load(position + far * TIME + query, mask=there, other=0)
    most, total = tl.full([QUERIES], float("-inf"), tl.float32), tl.zeros([QUERIES], tl.float32)
    found = tl.zeros([QUERIES, WIDTH], tl.float32)
    if PERSISTENT > 0:
        slot = tl.arange(0, MORE)
        held = slot < PERSISTENT
        fixed = rows_of(fixed_k + head * DIM, slot, held, width, FIXED, DIM).to(asked.dtype)
        told = rows_of(fixed_v + head * DIM, slot, held, width, FIXED, DIM).to(asked.dtype)
        always = tl.dot(asked, tl.trans(fixed), input_precision=PRECISION) * SCALE
        always = tl.where(held[None, :], always, float("-inf"))
        most = tl.max(always, 1)
        always = tl.exp(always - most[:, None])
        total = tl.sum(always, 1)
        if DROPS:
            kept = pairs_stay(drop_keys, row, head, query, slot[None, :], BEGIN, HEADS, LIMIT, PERSISTENT + PAST + 1)
            always = tl.where(kept, always * KEEP, 0.0)
        found = tl.dot(always.to(told.dtype), told, input_precision=PRECISION)
    for block in range((QUERIES + PAST + KEYS - 1) // KEYS):
        token = begin - PAST + block * KEYS + tl.arange(0, KEYS)
        keys = tokens_of(k, old_k, token, width, TURNED, HEADS * DIM, TIME, PAST, DIM)
        values = tokens_of(v, old_v, token, width, VALUES, HEADS * DIM, TIME, PAST, DIM)
        keys, values, bad = without_bad(keys, values)
        keys, values = keys.to(asked.dtype), values.to(asked.dtype)
        sight = in_sight(query, token, place, PAST)
        spoilt = spoilt | (tl.max(tl.where(sight & bad[None, :], 1, 0), 1) > 0)
        logits = tl.dot(asked, tl.trans(keys), input_precision=PRECISION) * SCALE
        logits = tl.where(sight, logits, float("-inf"))
        higher = tl.maximum(most, tl.max(logits, 1))
        # Of a query that has seen nothing yet there is no largest logit.
        base = tl.where(higher == float("-inf"), 0.0, higher)
        weights, shrunk = tl.exp(logits - base[:, None]), tl.exp(most - base)
        total = total * shrunk + tl.sum(weights, 1)
        if DROPS:
            age = query[:, None] - token[None, :]
            stay = pairs_stay(drop_keys, row, head, query, PERSISTENT + age, BEGIN, HEADS, LIMIT, PERSISTENT + PAST + 1)
            weights = tl.where(stay, weights * KEEP, 0.0)
        found = found * shrunk[:, None]
        found += tl.dot(weights.to(values.dtype), values, input_precision=PRECISION)
        most = higher
    found = tl.where(spoilt[:, None], float("nan"), found / total[:, None])
    entry = (far * TIME * HEADS + head) * DIM + query[:, None] * HEADS * DIM + width[None, :]
    tl.store(out + entry, found, mask=there[:, None] & (width < DIM)[None, :])
    length = tl.where(spoilt, float("inf"), most + tl.log(total))
    tl.store(logs + (far * HEADS + head) * TIME + query, length, mask=there)


@compiled
def to_queries(
    q: tl.tensor,
    k: tl.tensor,
    v: tl.tensor,
    old_k: tl.tensor,
    old_v: tl.tensor,
    fixed_k: tl.tensor,
    fixed_v: tl.tensor,
    position: tl.tensor,
    drop_keys: tl.tensor,
    out: tl.tensor,
    logs: tl.tensor,
    d_out: tl.tensor,
    along: tl.tensor,
    d_q: tl.tensor,
    d_fixed_k: tl.tensor,
    d_fixed_v: tl.tensor,
    TIME: tl.tensor,
    HEADS: tl.tensor,
    TURNED: tl.tensor,
    VALUES: tl.tensor,
    FIXED: tl.tensor,
    BEGIN: tl.tensor,
    LIMIT: tl.tensor,
    SCALE: tl.tensor,
    KEEP: tl.tensor,
    PAST: tl.constexpr,
    PERSISTENT: tl.constexpr,
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    MORE: tl.constexpr,
    DROPS: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Write dq and D of a block of queries, and what it adds to the gradients of the persistent tokens."""
    row, begin = block_of(TIME, QUERIES)
    head = tl.program_id(1)
    query, width = begin + tl.arange(0, QUERIES), tl.arange(0, WIDTH)
    there, far = query < TIME, row.to(tl.int64)
    turned = far * TIME * TURNED + head * DIM
    q, k, v = q + turned, k + turned, v + far * TIME * VALUES + head * DIM
    cached = (far * PAST * HEADS + head) * DIM
    old_k, old_v = old_k + cached, old_v + cached
    out, d_out = out + (far * TIME * HEADS + head) * DIM, d_out + (far * TIME * HEADS + head) * DIM
    logs += (far * HEADS + head) * TIME
    asked, given, length, sound = answered(q, d_out, logs, query, there, width, TURNED, HEADS * DIM, DIM)
    made = rows_of(out, query, sound, width, HEADS * DIM, DIM)
    slope = tl.sum(given.to(tl.float32) * made.to(tl.float32), 1)
    tl.store(along + (far * HEADS + head) * TIME + query, slope, mask=there)
    place = tl.load(position + far * TIME + query, mask=there, other=0)
    found = tl.zeros([QUERIES, WIDTH], tl.float32)
    if PERSISTENT > 0:
        slot = tl.arange(0, MORE)
        held = slot < PERSISTENT
        fixed = rows_of(fixed_k + head * DIM, slot, held, width, FIXED, DIM).to(asked.dtype)
        told = rows_of(fixed_v + head * DIM, slot, held, width, FIXED, DIM).to(asked.dtype)
        known = held[None, :] & sound[:, None]
        always, d_always = through_pairs(asked, given, fixed, told, known, length, SCALE, PRECISION)
        remaining = always
        if DROPS:
            kept = pairs_stay(drop_keys, row, head, query, slot[None, :], BEGIN, HEADS, LIMIT, PERSISTENT + PAST + 1)
            remaining, d_always = tl.where(kept, always * KEEP, 0.0), tl.where(kept, d_always * KEEP, 0.0)
        d_always = always * (d_always - slope[:, None]) * SCALE
        found = tl.dot(d_always.to(fixed.dtype), fixed, input_precision=PRECISION)
        of_keys = tl.dot(tl.trans(d_always.to(asked.dtype)), asked, input_precision=PRECISION)
        of_values = tl.dot(tl.trans(remaining.to(given.dtype)), given, input_precision=PRECISION)
        first = (tl.program_id(0).to(tl.int64) * PERSISTENT * HEADS + head) * DIM
        place_of = first + slot[:, None] * HEADS * DIM + width[None, :]
        mask = held[:, None] & (width < DIM)[None, :]
        tl.store(d_fixed_k + place_of, of_keys, mask=mask)
        tl.store(d_fixed_v + place_of, of_values, mask=mask)
    for block in range((QUERIES + PAST + KEYS - 1) // KEYS):
        token = begin - PAST + block * KEYS + tl.arange(0, KEYS)
        keys = tokens_of(k, old_k, token, width, TURNED, HEADS * DIM, TIME, PAST, DIM)
        values = tokens_of(v, old_v, token, width, VALUES, HEADS * DIM, TIME, PAST, DIM)
        keys, values, _ = without_bad(keys, values)
        keys, values = keys.to(asked.dtype), values.to(asked.dtype)
        sight = in_sight(query, token, place, PAST) & sound[:, None]
        weights, d_weights = through_pairs(asked, given, keys, values, sight, length, SCALE, PRECISION)
        if DROPS:
            age = query[:, None] - token[None, :]
            stay = pairs_stay(drop_keys, row, head, query, PERSISTENT + age, BEGIN, HEADS, LIMIT, PERSISTENT + PAST + 1)
            d_weights = tl.where(stay, d_weights * KEEP, 0.0)
        d_logits = weights * (d_weights - slope[:, None]) * SCALE
        found += tl.dot(d_logits.to(keys.dtype), keys, input_precision=PRECISION)
    entry = far * TIME * VALUES + head * DIM + query[:, None] * VALUES + width[None, :]
    tl.store(d_q + entry, found, mask=there[:, None] & (width < DIM)[None, :])


@compiled
def to_keys(
    q: tl.tensor,
    k: tl.tensor,
    v: tl.tensor,
    old_k: tl.tensor,
    old_v: tl.tensor,
    position: tl.tensor,
    drop_keys: tl.tensor,
    logs: tl.tensor,
    d_out: tl.tensor,
    along: tl.tensor,
    d_k: tl.tensor,
    d_v: tl.tensor,
    d_old_k: tl.tensor,
    d_old_v: tl.tensor,
    TIME: tl.tensor,
    HEADS: tl.tensor,
    TURNED: tl.tensor,
    VALUES: tl.tensor,
    BEGIN: tl.tensor,
    LIMIT: tl.tensor,
    SCALE: tl.tensor,
    KEEP: tl.tensor,
    PAST: tl.constexpr,
    LEARNED: tl.constexpr,
    PERSISTENT: tl.constexpr,
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    DROPS: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Write dk and dv of a block of keys, of the call (rows of VALUES numbers) and of LEARNED tokens before it."""
    row, begin = block_of(TIME + LEARNED, KEYS)
    head = tl.program_id(1)
    begin -= LEARNED
    token, width = begin + tl.arange(0, KEYS), tl.arange(0, WIDTH)
    far, held = row.to(tl.int64), (width < DIM)[None, :]
    turned, cached = far * TIME * TURNED + head * DIM, (far * PAST * HEADS + head) * DIM
    q, k, v = q + turned, k + turned, v + far * TIME * VALUES + head * DIM
    d_out += (far * TIME * HEADS + head) * DIM
    logs, along = logs + (far * HEADS + head) * TIME, along + (far * HEADS + head) * TIME
    keys = tokens_of(k, old_k + cached, token, width, TURNED, HEADS * DIM, TIME, PAST, DIM)
    values = tokens_of(v, old_v + cached, token, width, VALUES, HEADS * DIM, TIME, PAST, DIM)
    keys, values, _ = without_bad(keys, values)
    of_keys, of_values = tl.zeros([KEYS, WIDTH], tl.float32), tl.zeros([KEYS, WIDTH], tl.float32)
    for block in range((KEYS + PAST + QUERIES - 1) // QUERIES):
        query = begin + block * QUERIES + tl.arange(0, QUERIES)
        there = (query >= 0) & (query < TIME)
        asked, given, length, sound = answered(q, d_out, logs, query, there, width, TURNED, HEADS * DIM, DIM)
        slope = tl.load(along + query, mask=there, other=0.0)
        place = tl.load(position + far * TIME + query, mask=there, other=0)
        sight = in_sight(query, token, place, PAST) & sound[:, None]
        weights, d_weights = through_pairs(asked, given, keys, values, sight, length, SCALE, PRECISION)
        left = weights
        if DROPS:
            age = query[:, None] - token[None, :]
            stay = pairs_stay(drop_keys, row, head, query, PERSISTENT + age, BEGIN, HEADS, LIMIT, PERSISTENT + PAST + 1)
            left, d_weights = tl.where(stay, weights * KEEP, 0.0), tl.where(stay, d_weights * KEEP, 0.0)
        d_logits = weights * (d_weights - slope[:, None]) * SCALE
        of_keys += tl.dot(tl.trans(d_logits.to(asked.dtype)), asked, input_precision=PRECISION)
        of_values += tl.dot(tl.trans(left.to(given.dtype)), given, input_precision=PRECISION)
    entry = far * TIME * VALUES + head * DIM + token[:, None] * VALUES + width[None, :]
    mask = ((token >= 0) & (token < TIME))[:, None] & held
    tl.store(d_k + entry, of_keys, mask=mask)
    tl.store(d_v + entry, of_values, mask=mask)
    if LEARNED > 0:
        entry = cached + (token + PAST)[:, None] * HEADS * DIM + width[None, :]
        tl.store(d_old_k + entry, of_keys, mask=(token < 0)[:, None] & held)
        tl.store(d_old_v + entry, of_values, mask=(token < 0)[:, None] & held)
