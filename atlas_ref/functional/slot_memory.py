"""A memory of K slots that keeps what is new: the state that a source system names and never built.

A token x_t of width d, in this order (decision `slots`):

    nu_t = 1 - max_j cos(x_t, slot_j)                    over the slots in use; 1 where none is
    nu_t > threshold:  slot_p <- x_t                     p the first slot not in use, or that read longest ago
    y_t = sum_j softmax_j(x_t . slot_j / sqrt(d)) slot_j over the slots in use, its own among them

`read_at` of a slot is the position of the last token that was written into it, or in whose read it weighed most; -1
where it is not in use. The novelty and the choice of a slot are data and have no gradient: what is learned flows
through what is stored and read.

`slot_scan` is the loop over tokens. `slot_memory` decides first and reads afterwards: which token stands in a slot at
which time needs no gradient, and given that, all reads of a block are one attention over slots and tokens.
"""

import math
from collections.abc import Callable
from typing import Final, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from atlas_ref.functional.normalize import at_least_float32, unit_vector
from atlas_ref.functional.sight import sees_bad, spoil, take_out_bad

BLOCK: Final = 64
"""Tokens whose reads are one product."""
UNUSED: Final = -1
"""`read_at` of a slot that is not in use."""


class SlotReads(NamedTuple):
    """The reads, in the dtype of the tokens; novelties and slots in at least float32; when slots were last read."""

    reads: Float[Tensor, "batch time dim"]
    novelty: Float[Tensor, "batch time"]
    slots: Float[Tensor, "batch slots dim"]
    read_at: Int[Tensor, "batch slots"]


class Filled(NamedTuple):
    """What a block decided about its pool, which is the slots that it found and then its tokens.

    `held` is the entry of the pool that stands in each slot at the end, `left` the token from which an entry stands in
    no slot any more, `written` which tokens were written.
    """

    held: Int[Tensor, "batch slots"]
    left: Int[Tensor, "batch pool"]
    written: Bool[Tensor, "batch time"]
    novelty: Float[Tensor, "batch time"]
    read_at: Int[Tensor, "batch slots"]


Decide = Callable[[Tensor, Tensor, Tensor, Tensor, float], Filled]
"""What decides as `decided` does, from the same."""


def slot_usage(read_at: Int[Tensor, "batch slots"]) -> Float[Tensor, ""]:
    """Return the share of slots in use, over all rows."""
    return (read_at > UNUSED).double().mean()


def surprise_rate(novelty: Float[Tensor, "batch time"], threshold: float) -> Float[Tensor, ""]:
    """Return the share of tokens that were written: whose novelty is above the threshold."""
    return (novelty > threshold).double().mean()


def slot_scan(
    x: Float[Tensor, "batch time dim"],
    slots: Float[Tensor, "batch slots dim"],
    read_at: Int[Tensor, "batch slots"],
    position: Int[Tensor, "batch time"],
    threshold: float,
) -> SlotReads:
    """Return the reads, the novelties and the slots after the call (module docstring), one token after another.

    A document begins at position 0 and finds no slot in use; what stands in a slot that is not in use counts for
    nothing and comes back as zeros.
    """
    place = torch.arange(slots.shape[1], device=x.device)
    kept, reads, novelties = _in_use(at_least_float32(slots), read_at), [], []
    for token, here in zip(at_least_float32(x).unbind(1), position.unbind(1), strict=True):
        read_at = torch.where(here.unsqueeze(1) == 0, UNUSED, read_at)
        kept = _in_use(kept, read_at)
        cosines = (unit_vector(kept.detach()) @ unit_vector(token.detach()).unsqueeze(-1)).squeeze(-1)
        novelties.append(_novelty(cosines, read_at))
        written = (place == read_at.argmin(1, keepdim=True)) & (novelties[-1] > threshold).unsqueeze(1)
        kept = torch.where(written.unsqueeze(-1), token.unsqueeze(1), kept)
        read_at = torch.where(written, here.unsqueeze(1), read_at)
        logits = (kept @ token.unsqueeze(-1)).squeeze(-1) / math.sqrt(x.shape[-1])
        shares = _shares(logits, read_at > UNUSED)
        reads.append((shares.unsqueeze(1) @ kept).squeeze(1))
        most = _most(logits, read_at)
        read_at = torch.where((place == most) & (read_at > UNUSED), here.unsqueeze(1), read_at)
    read = torch.stack(reads, 1) if reads else at_least_float32(x)
    novelty = torch.stack(novelties, 1) if novelties else read.new_zeros(x.shape[:2])
    return SlotReads(read.to(x.dtype), novelty, kept, read_at)


def slot_memory(
    x: Float[Tensor, "batch time dim"],
    slots: Float[Tensor, "batch slots dim"],
    read_at: Int[Tensor, "batch slots"],
    position: Int[Tensor, "batch time"],
    threshold: float,
    decide: Decide | None = None,
) -> SlotReads:
    """Return what `slot_scan` returns, with one attention for every BLOCK tokens; `decide` stands for `decided`."""
    kept, reads, novelties = _in_use(at_least_float32(slots), read_at), [], []
    for tokens, here in zip(torch.split(at_least_float32(x), BLOCK, 1), torch.split(position, BLOCK, 1), strict=True):
        if not tokens.shape[1]:
            continue
        block = _block(tokens, kept, read_at, here, threshold, decide or decided)
        kept, read_at = block.slots, block.read_at
        reads.append(block.reads)
        novelties.append(block.novelty)
    read = torch.cat(reads, 1) if reads else at_least_float32(x)
    novelty = torch.cat(novelties, 1) if novelties else read.new_zeros(x.shape[:2])
    return SlotReads(read.to(x.dtype), novelty, kept, read_at)


def _block(
    tokens: Tensor, slots: Tensor, read_at: Tensor, position: Tensor, threshold: float, decide: Decide
) -> SlotReads:
    """Return the reads of one block, and the slots behind it."""
    pool = torch.cat([slots, tokens], 1)
    (seen, bad), (asked, bad_asked) = take_out_bad(pool), take_out_bad(tokens)
    logits = asked @ seen.mT / math.sqrt(tokens.shape[-1])
    with torch.no_grad():
        # The products as they are: a slot that holds no number weighs as in the loop, and stays or goes as there.
        filled = decide(unit_vector(tokens) @ unit_vector(pool).mT, tokens @ pool.mT, read_at, position, threshold)
        sight = _sight(filled, read_at, position)
    reads = _shares(logits, sight) @ seen
    reads = spoil(reads, (sees_bad(sight, bad, logits.dtype) | bad_asked).unsqueeze(-1))
    after = pool.gather(1, filled.held.unsqueeze(-1).expand(-1, -1, pool.shape[-1]))
    return SlotReads(reads, filled.novelty, _in_use(after, filled.read_at), filled.read_at)


def decided(
    cosines: Float[Tensor, "batch time pool"],
    products: Float[Tensor, "batch time pool"],
    read_at: Int[Tensor, "batch slots"],
    position: Int[Tensor, "batch time"],
    threshold: float,
) -> Filled:
    """Return what stands where after each token, from what the tokens have with the pool: cosines, and products."""
    time, count = position.shape[1], read_at.shape[1]
    read_at = read_at.clone()
    held = torch.arange(count, device=read_at.device).expand_as(read_at).clone()
    left = torch.full(cosines[:, 0].shape, time, device=read_at.device)
    written, novelties = [], []
    for t, here in enumerate(position.unsqueeze(-1).unbind(1)):
        read_at = torch.where(here == 0, UNUSED, read_at)
        novelties.append(_novelty(cosines[:, t].gather(1, held), read_at))
        written.append(novelties[-1] > threshold)
        writes, into = written[-1].unsqueeze(1), read_at.argmin(1, keepdim=True)
        before = held.gather(1, into)
        left.scatter_(1, before, torch.where(writes, t, left.gather(1, before)))
        held.scatter_(1, into, torch.where(writes, count + t, before))
        read_at.scatter_(1, into, torch.where(writes, here, read_at.gather(1, into)))
        most = _most(products[:, t].gather(1, held), read_at)
        found = read_at.gather(1, most)
        read_at.scatter_(1, most, torch.where(found > UNUSED, here, found))
    return Filled(held, left, torch.stack(written, 1), torch.stack(novelties, 1), read_at)


def _sight(filled: Filled, read_at: Tensor, position: Tensor) -> Bool[Tensor, "batch time pool"]:
    """Return which entries of the pool each token reads: those of its document that stand in a slot at its time."""
    index = torch.arange(position.shape[1], device=position.device)
    age = index.unsqueeze(1) - index
    stands = index.unsqueeze(1) < filled.left.unsqueeze(1)
    older = (position > index).unsqueeze(-1) & (read_at > UNUSED).unsqueeze(1)
    own = (age >= 0) & (age <= position.unsqueeze(-1)) & filled.written.unsqueeze(1)
    return stands & torch.cat([older, own], -1)


def _in_use(slots: Tensor, read_at: Tensor) -> Tensor:
    """Return the slots with zeros where none is in use: selected, not multiplied, whatever stood there."""
    return torch.where((read_at > UNUSED).unsqueeze(-1), slots, 0.0)


def _novelty(cosines: Float[Tensor, "batch slots"], read_at: Tensor) -> Float[Tensor, " batch"]:
    """Return 1 - the largest cosine with a slot in use, 1 where there is none."""
    used = read_at > UNUSED
    return torch.where(used.any(1), 1.0 - torch.where(used, cosines, -torch.inf).amax(1), 1.0)


def _shares(logits: Float[Tensor, "*shape places"], sight: Bool[Tensor, "*shape places"]) -> Tensor:
    """Return the softmax over what is in sight, zeros where nothing is."""
    some = sight.any(-1, keepdim=True)
    return torch.where(sight, torch.softmax(torch.where(sight | ~some, logits, -torch.inf), -1), 0.0)


def _most(weights: Float[Tensor, "batch slots"], read_at: Tensor) -> Int[Tensor, "batch 1"]:
    """Return the slot in use with the largest weight, the first of several; any slot where none is in use."""
    return torch.where(read_at > UNUSED, weights, -torch.inf).argmax(1, keepdim=True)
