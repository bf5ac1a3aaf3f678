"""The gated join of attention and memory, with the norms of both and dropout between, in one pass over the tokens.

    a = norm(attended), m = dropout(norm(reads)),   g = floor + (1 - floor) s,   s = sigmoid(z)

    KIND 0  source           z = a        y = g m                 KIND 2  convex_memory    z given   y = g m + (1 - g) a
    KIND 1  gated_attention  z = m        y = g a                 KIND 3  convex           z given   y = g a + (1 - g) m

(`functional.mag_gate`). Backward everything is made again from what was attended and read.
"""

import triton.language as tl

from atlas_ref.blocks.kernels.dropout_parts import places_stay
from atlas_ref.memory.kernels.launching import compiled


@compiled
def normed(
    x: tl.tensor, entry: tl.tensor, mask: tl.tensor, EPS: tl.tensor, DIM: tl.constexpr
) -> tuple[tl.tensor, tl.tensor]:
    """Return tokens by their length, and the length."""
    given = tl.load(x + entry, mask=mask, other=0.0).to(tl.float32)
    length = tl.sqrt(tl.sum(given * given, 1) / DIM + EPS)[:, None]
    return given / length, length


@compiled
def gated(
    a: tl.tensor,
    m: tl.tensor,
    logits: tl.tensor,
    entry: tl.tensor,
    mask: tl.tensor,
    floors: tl.tensor,
    token: tl.tensor,
    there: tl.tensor,
    FLOOR: tl.tensor,
    KIND: tl.constexpr,
    OWN: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """Return s of some tokens, and their floor."""
    if KIND == 0:
        share = tl.sigmoid(a)
    elif KIND == 1:
        share = tl.sigmoid(m)
    else:
        share = tl.sigmoid(tl.load(logits + entry, mask=mask, other=0.0).to(tl.float32))
    floor = FLOOR
    if OWN:
        floor = tl.load(floors + token, mask=there, other=0.0)[:, None]
    return share, floor


@compiled
def join(
    attended: tl.tensor,
    reads: tl.tensor,
    logits: tl.tensor,
    weight_a: tl.tensor,
    weight_m: tl.tensor,
    floors: tl.tensor,
    keys: tl.tensor,
    out: tl.tensor,
    raw: tl.tensor,
    TOKENS: tl.tensor,
    TIME: tl.tensor,
    EPS_A: tl.tensor,
    EPS_M: tl.tensor,
    FLOOR: tl.tensor,
    BEGIN: tl.tensor,
    LIMIT: tl.tensor,
    KEEP: tl.tensor,
    KIND: tl.constexpr,
    DROPS: tl.constexpr,
    OWN: tl.constexpr,
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
) -> None:
    """Write the join and s of ROWS tokens; the floor is that of each token where it has its OWN."""
    token, width = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS), tl.arange(0, WIDTH)
    there, held = token < TOKENS, width < DIM
    mask, entry = there[:, None] & held[None, :], token[:, None] * DIM + width[None, :]
    a, _ = normed(attended, entry, mask, EPS_A, DIM)
    m, _ = normed(reads, entry, mask, EPS_M, DIM)
    a = a * tl.load(weight_a + width, mask=held, other=0.0).to(tl.float32)[None, :]
    m = m * tl.load(weight_m + width, mask=held, other=0.0).to(tl.float32)[None, :]
    if DROPS:
        m = tl.where(places_stay(keys, token, there, width, TIME, BEGIN, LIMIT, DIM), m * KEEP, 0.0)
    share, floor = gated(a, m, logits, entry, mask, floors, token, there, FLOOR, KIND, OWN)
    gate = floor + (1.0 - floor) * share
    if KIND == 0:
        y = gate * m
    elif KIND == 1:
        y = gate * a
    elif KIND == 2:
        y = gate * m + (1.0 - gate) * a
    else:
        y = gate * a + (1.0 - gate) * m
    tl.store(out + entry, y, mask=mask)
    tl.store(raw + entry, share, mask=mask)


@compiled
def join_back(
    attended: tl.tensor,
    reads: tl.tensor,
    logits: tl.tensor,
    weight_a: tl.tensor,
    weight_m: tl.tensor,
    floors: tl.tensor,
    keys: tl.tensor,
    d_out: tl.tensor,
    d_attended: tl.tensor,
    d_reads: tl.tensor,
    d_logits: tl.tensor,
    d_weight_a: tl.tensor,
    d_weight_m: tl.tensor,
    TOKENS: tl.tensor,
    TIME: tl.tensor,
    EPS_A: tl.tensor,
    EPS_M: tl.tensor,
    FLOOR: tl.tensor,
    BEGIN: tl.tensor,
    LIMIT: tl.tensor,
    KEEP: tl.tensor,
    STEPS: tl.tensor,
    KIND: tl.constexpr,
    DROPS: tl.constexpr,
    OWN: tl.constexpr,
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
) -> None:
    """Write the gradients of STEPS times ROWS tokens, and their part of those of both weights."""
    width = tl.arange(0, WIDTH)
    held = width < DIM
    factor_a = tl.load(weight_a + width, mask=held, other=0.0).to(tl.float32)[None, :]
    factor_m = tl.load(weight_m + width, mask=held, other=0.0).to(tl.float32)[None, :]
    found_a, found_m = tl.zeros([WIDTH], tl.float32), tl.zeros([WIDTH], tl.float32)
    for step in range(STEPS):
        token = (tl.program_id(0).to(tl.int64) * STEPS + step) * ROWS + tl.arange(0, ROWS)
        there = token < TOKENS
        mask, entry = there[:, None] & held[None, :], token[:, None] * DIM + width[None, :]
        unit_a, length_a = normed(attended, entry, mask, EPS_A, DIM)
        unit_m, length_m = normed(reads, entry, mask, EPS_M, DIM)
        a, m = unit_a * factor_a, unit_m * factor_m
        if DROPS:
            stay = places_stay(keys, token, there, width, TIME, BEGIN, LIMIT, DIM)
            m = tl.where(stay, m * KEEP, 0.0)
        share, floor = gated(a, m, logits, entry, mask, floors, token, there, FLOOR, KIND, OWN)
        gate = floor + (1.0 - floor) * share
        slope = tl.load(d_out + entry, mask=mask, other=0.0).to(tl.float32)
        through = slope * (1.0 - floor) * share * (1.0 - share)
        if KIND == 0:
            d_a, d_m = through * m, slope * gate
        elif KIND == 1:
            d_a, d_m = slope * gate, through * a
        elif KIND == 2:
            d_a, d_m = slope * (1.0 - gate), slope * gate
            tl.store(d_logits + entry, through * (m - a), mask=mask)
        else:
            d_a, d_m = slope * gate, slope * (1.0 - gate)
            tl.store(d_logits + entry, through * (a - m), mask=mask)
        if DROPS:
            d_m = tl.where(stay, d_m * KEEP, 0.0)
        found_a, found_m = found_a + tl.sum(d_a * unit_a, 0), found_m + tl.sum(d_m * unit_m, 0)
        d_a, d_m = d_a * factor_a, d_m * factor_m
        along_a, along_m = tl.sum(d_a * unit_a, 1)[:, None] / DIM, tl.sum(d_m * unit_m, 1)[:, None] / DIM
        tl.store(d_attended + entry, (d_a - unit_a * along_a) / length_a, mask=mask)
        tl.store(d_reads + entry, (d_m - unit_m * along_m) / length_m, mask=mask)
    tl.store(d_weight_a + tl.program_id(0) * DIM + width, found_a, mask=held)
    tl.store(d_weight_m + tl.program_id(0) * DIM + width, found_m, mask=held)
