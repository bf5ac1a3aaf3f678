"""What stands in which slot, token after token, by one kernel: what `functional.slot_memory.decided` decides.

A program has one row. What each slot holds and when it was last read stay in registers; the products of a token with
what its slots hold are gathered from those with the whole pool. The slot to write into is that read longest ago, the
slot that was read most that of the largest product, both the first of several: the place of a slot stands behind its
number in one integer, so that one pass over the slots finds either. A product that is no number is the largest.

There is no gradient, as decisions are data. In place of some thirty launches a token a block of tokens is one.
"""

import torch
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from atlas_ref.functional.slot_memory import Filled
from atlas_ref.memory.kernels.launching import compiled, tile

WIDE = 2048
"""Slots from which on a program has more threads."""


def decided(
    cosines: Float[Tensor, "batch time pool"],
    products: Float[Tensor, "batch time pool"],
    read_at: Int[Tensor, "batch slots"],
    position: Int[Tensor, "batch time"],
    threshold: float,
) -> Filled:
    """Return what a block decides about its pool; all numbers are float32."""
    (batch, time, pool), count = cosines.shape, read_at.shape[1]
    # Places of the pool even where kernels are only compiled, and what they return is read all the same.
    held, after = (torch.zeros_like(read_at, memory_format=torch.contiguous_format) for _ in range(2))
    left = torch.full((batch, pool), time, device=read_at.device)
    novelty = torch.empty(batch, time, dtype=cosines.dtype, device=read_at.device)
    _decided[(batch,)](
        *(x.contiguous() for x in (cosines, products, read_at, position)),
        *(held, left, novelty, after),
        threshold,
        time,
        count,
        tile(count),
        num_warps=16 if count > WIDE else 4,
    )
    return Filled(held, left, novelty > threshold, novelty, after)


@compiled
def _order(x: tl.tensor) -> tl.tensor:
    """Return integers in the order of numbers; both zeros are the same, and NaN is the largest."""
    bits = tl.where(x == 0.0, 0.0, x).to(tl.int32, bitcast=True)
    return tl.where(x != x, 0x7FFFFFFF, tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits))


@compiled
def _decided(
    cosines: tl.tensor,
    products: tl.tensor,
    read_at: tl.tensor,
    position: tl.tensor,
    held: tl.tensor,
    left: tl.tensor,
    novelty: tl.tensor,
    after: tl.tensor,
    threshold: tl.tensor,
    TIME: tl.tensor,
    SLOTS: tl.tensor,
    WIDTH: tl.constexpr,
) -> None:
    """Decide for the tokens of one row."""
    row, pool = tl.program_id(0).to(tl.int64), SLOTS + TIME
    place = tl.arange(0, WIDTH)
    there = place < SLOTS
    read = tl.load(read_at + row * SLOTS + place, mask=there, other=-1)
    entry = place
    behind = place.to(tl.int64)
    for t in range(TIME):
        token = row * TIME + t
        here = tl.load(position + token)
        read = tl.where(here == 0, -1, read)
        used = there & (read > -1)
        near = tl.load(cosines + token * pool + entry, mask=used, other=float("-inf"))
        most = tl.max(tl.where(near != near, float("-inf"), near), 0)
        # A cosine that is no number leaves the novelty none, and slots that nobody uses leave it 1.
        known, bad = tl.max(used.to(tl.int32), 0), tl.max((near != near).to(tl.int32), 0)
        new = tl.where(known > 0, tl.where(bad > 0, float("nan"), 1.0 - most), 1.0)
        writes = new > threshold
        tl.store(novelty + token, new)
        last = tl.where(there, read * 4294967296 + behind, 0x7FFFFFFFFFFFFFFF)
        into = there & (last == tl.min(last, 0))
        gone = tl.sum(tl.where(into, entry, 0), 0)
        tl.store(left + row * pool + gone, t, mask=writes)
        entry = tl.where(into, tl.where(writes, SLOTS + t, gone), entry)
        read = tl.where(into, tl.where(writes, here, read), read)
        used = there & (read > -1)
        weight = _order(tl.load(products + token * pool + entry, mask=used, other=float("-inf")))
        rank = tl.where(there, weight.to(tl.int64) * 4294967296 - behind, -0x7FFFFFFFFFFFFFFF)
        read = tl.where(used & (rank == tl.max(rank, 0)), here, read)
    tl.store(held + row * SLOTS + place, entry, mask=there)
    tl.store(after + row * SLOTS + place, read, mask=there)
