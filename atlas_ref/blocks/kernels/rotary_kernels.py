"""Rotary positions on the chip: pairs of a row are turned by the angles of its token, or turned back.

    (a, b) -> (a cos - b sin, a sin + b cos)                                                      (`functional.rotary`)

Back is the same by the negative angle, which is the gradient too. A program has some tokens and some of their pairs.
"""

import triton.language as tl

from atlas_ref.memory.kernels.launching import compiled


@compiled
def turn(
    x: tl.tensor,
    cosine: tl.tensor,
    sine: tl.tensor,
    out: tl.tensor,
    TOKENS: tl.tensor,
    PAIRS: tl.tensor,
    STRIDE: tl.tensor,
    OUT: tl.tensor,
    SIGN: tl.constexpr,
    HALF: tl.constexpr,
    TILE: tl.constexpr,
    ROWS: tl.constexpr,
) -> None:
    """Turn the first PAIRS pairs of each token by its angles, or with a SIGN of -1 back (`functional.rotary`).

    A row of x has STRIDE numbers, one of `out` OUT; they may be the same.
    """
    token = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    pair = tl.program_id(1) * TILE + tl.arange(0, TILE)
    mask = (token < TOKENS)[:, None] & (pair < PAIRS)[None, :]
    angle = token[:, None] * HALF + (pair % HALF)[None, :]
    c = tl.load(cosine + angle, mask=mask, other=0.0)
    s = tl.load(sine + angle, mask=mask, other=0.0) * SIGN
    entry = token[:, None] * STRIDE + 2 * pair[None, :]
    even = tl.load(x + entry, mask=mask, other=0.0).to(tl.float32)
    odd = tl.load(x + entry + 1, mask=mask, other=0.0).to(tl.float32)
    entry = token[:, None] * OUT + 2 * pair[None, :]
    tl.store(out + entry, even * c - odd * s, mask=mask)
    tl.store(out + entry + 1, even * s + odd * c, mask=mask)
