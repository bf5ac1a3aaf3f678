"""Shards: stretches of a document after which the memory restarts, and M3 mixing of what goes over the border.

Decision 16. At position p > 0 of its document, with p mod L = 0, a row crosses into a new shard of L tokens:

    M = M_0,    xi = M_0,    S = a stopgrad(S),    Pi = a stopgrad(Pi),    a = m3_alpha(n),  n = p / L - 1,

n being the crossings that the row has made in this document before this one. Window, convolution, attention and
positions go on. The initial S and Pi are zero, so the (1 - a) part of the mixture (`functional.m3`) adds nothing.
Everything follows from the position: nothing is counted, a reset is a fresh start, and any split gives the same.

L is a multiple of the chunk, so that a shard begins with a chunk and its gradients are never taken at an older memory.
"""

from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from atlas_ref.functional.m3 import m3_alpha, m3_mix
from atlas_ref.functional.qk_projection import qk_project
from atlas_ref.memory.plan import SegmentPlan, crossings_before

Span = Literal["shard", "chunk", "document"]
"""What the Q-K projection sums the keys of (decision `projection`)."""


class Shards(NamedTuple):
    """Length in tokens, crossings of the ramp of `a`, and the logit of the learned rate that follows it."""

    length: int
    warmup_crossings: int
    alpha_logit: Float[Tensor, ""]

    def inherit(self, previous: Float[Tensor, "batch ..."], crossings: Int[Tensor, " batch"]) -> Tensor:
        """Return a stopgrad(previous) in the rows that cross, `previous` in the others (`crossings` below 0)."""
        mixing = m3_alpha(crossings, self.warmup_crossings, self.alpha_logit)
        mixed = m3_mix(previous, previous.new_zeros(previous.shape[1:]), mixing)
        return torch.where((crossings >= 0).view(-1, *(1,) * (previous.ndim - 1)), mixed, previous)


def qk_project_in_span(
    span: Span,
    queries: Float[Tensor, "batch time heads dim"],
    keys: Float[Tensor, "batch time heads dim"],
    carry: Float[Tensor, "batch heads dim dim"],
    plan: SegmentPlan,
    shards: Shards | None,
    chunk: int,
) -> tuple[
    Float[Tensor, "batch time heads dim"], Float[Tensor, "batch heads dim dim"], Float[Tensor, "batch time heads"]
]:
    """Return what `qk_project` does, with Pi the sum over the keys of what `span` names (TNT 2511.07343 Eq. 7).

    `shard`: since the document began, mixed where a row begins a shard. `chunk`: since the chunk began, of `chunk`
    tokens, as Eq. 7 is printed. `document`: since the document began, whatever shards there are.
    """
    if span == "shard":
        return qk_project_in_shards(queries, keys, carry, plan, shards)
    position = plan.position % chunk if span == "chunk" else plan.position
    return qk_project(queries, keys, carry, position)


def qk_project_in_shards(
    queries: Float[Tensor, "batch time heads dim"],
    keys: Float[Tensor, "batch time heads dim"],
    carry: Float[Tensor, "batch heads dim dim"],
    plan: SegmentPlan,
    shards: Shards | None,
) -> tuple[
    Float[Tensor, "batch time heads dim"], Float[Tensor, "batch heads dim dim"], Float[Tensor, "batch time heads"]
]:
    """Return what `qk_project` does, with Pi mixed wherever a row begins a shard.

    The call is cut at every token at which some row does; rows that do not cross there are only cut in two.
    """
    if shards is None or not plan.borders:
        return qk_project(queries, keys, carry, plan.position)
    projected, norms = [], []
    for start, stop in pairwise(sorted({0, *plan.borders, plan.time})):
        position = plan.position[:, start:stop]
        carry = shards.inherit(carry, crossings_before(position[:, 0], shards.length))
        part, carry, norm = qk_project(queries[:, start:stop], keys[:, start:stop], carry, position)
        projected.append(part)
        norms.append(norm)
    return torch.cat(projected, 1), carry, torch.cat(norms, 1)
