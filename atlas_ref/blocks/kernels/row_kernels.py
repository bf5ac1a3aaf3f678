"""What a block does with each token by itself, in one pass over it: norm, dropout, SwiGLU; and the pass back.

    norm       h = w x / r,  r = (mean x^2 + eps)^{1/2};   dx = (w g - n mean(n w g)) / r + u,  n = x / r,  dw = sum g n
    dropout    y = a + m x,  m = 1 / (1 - rate) where a place stays, else 0;                             dx = m dy
    SwiGLU     y = silu(a) b;                 da = dy b s (1 + a (1 - s)),  db = dy a s,  s = sigmoid(a)

g is the sum of the gradients of all that reads h, u that of what goes on with x beside it. Everything is computed in
float32 and rounded once, where it leaves. A program has some tokens after another, so that its part of a sum over
tokens is one row; the rows are added in one order.
"""

import triton.language as tl

from atlas_ref.blocks.kernels.dropout_parts import places_stay
from atlas_ref.memory.kernels.launching import compiled


@compiled
def norm(
    x: tl.tensor,
    weight: tl.tensor,
    out: tl.tensor,
    TOKENS: tl.tensor,
    EPS: tl.tensor,
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
) -> None:
    """Write the norm of ROWS tokens."""
    token, width = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS), tl.arange(0, WIDTH)
    held = width < DIM
    mask, entry = (token < TOKENS)[:, None] & held[None, :], token[:, None] * DIM + width[None, :]
    given = tl.load(x + entry, mask=mask, other=0.0).to(tl.float32)
    length = tl.sqrt(tl.sum(given * given, 1) / DIM + EPS)
    factor = tl.load(weight + width, mask=held, other=0.0).to(tl.float32)
    tl.store(out + entry, given / length[:, None] * factor[None, :], mask=mask)


@compiled
def norm_back(
    x: tl.tensor,
    weight: tl.tensor,
    first: tl.tensor,
    second: tl.tensor,
    third: tl.tensor,
    fourth: tl.tensor,
    beside: tl.tensor,
    d_x: tl.tensor,
    d_weight: tl.tensor,
    TOKENS: tl.tensor,
    EPS: tl.tensor,
    STEPS: tl.tensor,
    USES: tl.constexpr,
    BESIDE: tl.constexpr,
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
) -> None:
    """Write dx of STEPS times ROWS tokens from the gradients of USES outputs, and of x BESIDE them, and their part of
    dw.
    """
    width = tl.arange(0, WIDTH)
    held = width < DIM
    factor = tl.load(weight + width, mask=held, other=0.0).to(tl.float32)
    found = tl.zeros([WIDTH], tl.float32)
    for step in range(STEPS):
        token = (tl.program_id(0).to(tl.int64) * STEPS + step) * ROWS + tl.arange(0, ROWS)
        mask, entry = (token < TOKENS)[:, None] & held[None, :], token[:, None] * DIM + width[None, :]
        given = tl.load(x + entry, mask=mask, other=0.0).to(tl.float32)
        length = tl.sqrt(tl.sum(given * given, 1) / DIM + EPS)[:, None]
        slope = tl.load(first + entry, mask=mask, other=0.0).to(tl.float32)
        if USES > 1:
            slope += tl.load(second + entry, mask=mask, other=0.0).to(tl.float32)
        if USES > 2:
            slope += tl.load(third + entry, mask=mask, other=0.0).to(tl.float32)
        if USES > 3:
            slope += tl.load(fourth + entry, mask=mask, other=0.0).to(tl.float32)
        normed = given / length
        found += tl.sum(slope * normed, 0)
        slope = slope * factor[None, :]
        along = tl.sum(slope * normed, 1)[:, None] / DIM
        slope = (slope - normed * along) / length
        if BESIDE:
            slope += tl.load(beside + entry, mask=mask, other=0.0).to(tl.float32)
        tl.store(d_x + entry, slope, mask=mask)
    tl.store(d_weight + tl.program_id(0) * DIM + width, found, mask=held)


@compiled
def dropout(
    x: tl.tensor,
    added: tl.tensor,
    keys: tl.tensor,
    out: tl.tensor,
    TOKENS: tl.tensor,
    TIME: tl.tensor,
    BEGIN: tl.tensor,
    LIMIT: tl.tensor,
    KEEP: tl.tensor,
    ADDS: tl.constexpr,
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
) -> None:
    """Write what dropout leaves of ROWS tokens, scaled up, and where there is something to be ADDED, the sum."""
    token, width = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS), tl.arange(0, WIDTH)
    there = token < TOKENS
    mask, entry = there[:, None] & (width < DIM)[None, :], token[:, None] * DIM + width[None, :]
    given = tl.load(x + entry, mask=mask, other=0.0).to(tl.float32)
    found = tl.where(places_stay(keys, token, there, width, TIME, BEGIN, LIMIT, DIM), given * KEEP, 0.0)
    if ADDS:
        found += tl.load(added + entry, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + entry, found, mask=mask)


@compiled
def swiglu(
    up: tl.tensor, out: tl.tensor, TOKENS: tl.tensor, DIM: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr
) -> None:
    """Write silu(a) b of ROWS tokens and WIDTH of their components, where a row of `up` is a and b behind it."""
    token = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    width = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    mask = (token < TOKENS)[:, None] & (width < DIM)[None, :]
    entry = 2 * token[:, None] * DIM + width[None, :]
    a = tl.load(up + entry, mask=mask, other=0.0).to(tl.float32)
    b = tl.load(up + entry + DIM, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + token[:, None] * DIM + width[None, :], a * tl.sigmoid(a) * b, mask=mask)


@compiled
def swiglu_back(
    up: tl.tensor,
    d_out: tl.tensor,
    d_up: tl.tensor,
    TOKENS: tl.tensor,
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
) -> None:
    """Write the gradients of a and b."""
    token = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    width = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    mask = (token < TOKENS)[:, None] & (width < DIM)[None, :]
    entry = 2 * token[:, None] * DIM + width[None, :]
    a = tl.load(up + entry, mask=mask, other=0.0).to(tl.float32)
    b = tl.load(up + entry + DIM, mask=mask, other=0.0).to(tl.float32)
    slope = tl.load(d_out + token[:, None] * DIM + width[None, :], mask=mask, other=0.0).to(tl.float32)
    share = tl.sigmoid(a)
    tl.store(d_up + entry, slope * b * share * (1.0 + a * (1.0 - share)), mask=mask)
    tl.store(d_up + entry + DIM, slope * a * share, mask=mask)
