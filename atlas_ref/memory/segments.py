"""Segments: what a run over the chunks is given, what it carries over their borders, and coordinates in both.

Inside a segment (see `plan`) the anchor xi is fixed, so every gradient is known at once as rank-one factors
l_i r_i^T, and momentum, window and retention are linear in them. So S_t and M_t are sums, whose coordinates, the rows
U[t] and W[t], obey the recurrences of the memory themselves (`scan`). G[t, i] is the weight of pair i in t's window:

    U[t] = theta_t U[t-1] + intake_t [G[t], 0],         S_t = sum_i U[t, i] l_i r_i^T + U[t, S] S
    W[t] = alpha_t W[t-1] + release_t [U[t], 0],        M_t = sum_i W[t, i] l_i r_i^T + W[t, S] S + W[t, M] M

Under Newton-Schulz M_t is no longer linear in the factors, but in the orthogonalised momenta of the tokens that write:

    W[t] = alpha_t W[t-1] + release_t [e_t, 0],         M_t = sum_i W[t, i] NS(S_i) + W[t, M] M
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from atlas_ref.functional.scan import linear_scan
from atlas_ref.functional.ttl import writing_tokens
from atlas_ref.functional.window import window_band
from atlas_ref.memory.architecture import Weights, predict, predict_with
from atlas_ref.memory.factors import Factors
from atlas_ref.memory.plan import Rows, SegmentPlan, where_rows
from atlas_ref.memory.rules import MemoryRule, WriteCoefficients
from atlas_ref.memory.shards import Shards
from atlas_ref.memory.state import Carry, MemoryState


class Segments(NamedTuple):
    """The inputs of every segment: [segments, batch, heads, slots, dim]; keys and values stand behind their window.

    A threshold is that of the token that writes, and a pair is in the windows of several. So where the bias has one,
    every token has slots of its own for all pairs of its window, and `threshold` is that of each slot.
    """

    keys: Tensor
    values: Tensor
    queries: Tensor
    threshold: Tensor | None

    def thresholds(self) -> Sequence[Tensor | None]:
        """Return the thresholds of each segment, None where the bias has none."""
        return [None] * len(self.keys) if self.threshold is None else self.threshold.unbind()


def lay(
    rule: MemoryRule, plan: SegmentPlan, keys: Tensor, values: Tensor, queries: Tensor, write: WriteCoefficients
) -> Segments:
    """Return the segments; keys and values [batch, past + time, heads, dim] come with the window before the call."""
    past = keys.shape[1] - plan.time
    sight = plan.in_sight(past, rule.chunk, rule.boundary)
    # Laid out once: every product of a segment would do so again.
    near_keys, near_values = (plan.split_window(x, past, sight).transpose(2, 3).contiguous() for x in (keys, values))
    threshold = None
    if write.threshold is not None:
        threshold = plan.split(write.threshold, 0.0).transpose(2, 3).repeat_interleave(past + 1, -1)
        near_keys, near_values = (x.unfold(-2, past + 1, 1).mT.flatten(-3, -2) for x in (near_keys, near_values))
    return Segments(near_keys, near_values, plan.split(queries, 0.0).transpose(2, 3).contiguous(), threshold)


class Coordinates(NamedTuple):
    """Those of the module docstring under Newton-Schulz in every segment: [slots, segments, batch, heads, coordinates].

    `weights` has one for each of the `writers`, the slots that write in each row.
    """

    momentum: Tensor  # U
    weights: Tensor  # W
    writers: Int[Tensor, "segments batch writers"]


class Start(NamedTuple):
    """M_0, and what goes over the border of a shard."""

    initial: Weights
    shards: Shards | None


def enter(plan: SegmentPlan, n: int, start: Start, carry: Carry) -> Carry:
    """Return the carry at the first token of segment n: new documents and shards restart, rows in phase re-anchor."""
    weights, momentum = carry.weights, carry.momentum
    if plan.resets[n] is not False:
        weights = _restarted(plan.resets[n], start.initial, weights)
        momentum = tuple(where_rows(plan.resets[n], torch.zeros_like(s), s) for s in momentum)
    weights, momentum, _ = cross(plan, n, start, Carry(weights, momentum, carry.anchor))
    anchor = tuple(where_rows(plan.opens[n], m, xi) for m, xi in zip(weights, carry.anchor, strict=True))
    return Carry(weights, momentum, anchor)


def cross(plan: SegmentPlan, n: int, start: Start, carry: Carry) -> Carry:
    """Return the carry at segment n where rows begin a shard there: M restarts and inherits a share of S."""
    crossings = plan.crossings[n]
    if start.shards is None or crossings is None:
        return carry
    weights = _restarted(crossings >= 0, start.initial, carry.weights)
    return carry._replace(weights=weights, momentum=tuple(start.shards.inherit(s, crossings) for s in carry.momentum))


def segment_by_segment(
    plan: SegmentPlan,
    start: Start,
    state: MemoryState,
    inputs: Iterable[tuple[Any, ...]],
    segment: Callable[..., tuple[Tensor, Weights, Weights, Tensor]],
) -> tuple[Tensor, Carry, Tensor]:
    """Return the reads of all segments, what the last leaves, and their squared errors.

    `segment` is given the carry at its first token and its `inputs`, and returns its reads, M and S after it, and its
    errors. It is computed again in the backward pass, so that what one segment forms is held for one at a time.
    """
    carry = Carry(state.weights, state.momentum, state.anchor)
    reads, errors = [], []
    for n, found in enumerate(inputs):
        carry = enter(plan, n, start, carry)
        read, weights, momentum, missed = checkpoint(
            segment, carry, *found, use_reentrant=False, preserve_rng_state=False
        )
        carry = Carry(weights, momentum, carry.anchor)
        reads.append(read)
        errors.append(missed)
    return torch.stack(reads), carry, torch.cat(errors)


def read_segment(
    rule: MemoryRule, anchor: Weights, layers: Sequence[Callable[[Tensor], Tensor]], queries: Tensor
) -> Tensor:
    """Return what the tokens of a segment read: at its anchor, or each by the `layers` of the memory that it sees."""
    if rule.read == "anchor":
        return predict_with(rule.architecture, anchor, queries)
    return predict(rule.architecture, layers, queries)


def _restarted(rows: Rows, initial: Weights, weights: Weights) -> Weights:
    """Return M_0 in the rows that `rows` names and M in the others."""
    return tuple(where_rows(rows, m0.expand_as(m), m) for m0, m in zip(initial, weights, strict=True))


def momentum_coordinates(plan: SegmentPlan, write: WriteCoefficients) -> Tensor:
    """Return U in every segment; an empty slot decays nothing and takes nothing in."""
    band = _band(write, plan.split(write.window, 0.0).transpose(2, 3)).movedim(3, 0)
    decay, intake = plan.split(write.momentum, 1.0).movedim(2, 0), plan.split(write.intake, 0.0).movedim(2, 0)
    return scanned(decay, intake.unsqueeze(-1) * band)


def _band(write: WriteCoefficients, window: Tensor) -> Tensor:
    """Return G of the module docstring from weights [..., tokens, window]: a band, or slots of its own a token."""
    if write.threshold is None:
        return window_band(window)
    return torch.diag_embed(window.flip(-1).mT).movedim(-3, -1).flatten(-2)


def coordinates(rule: MemoryRule, plan: SegmentPlan, write: WriteCoefficients) -> Coordinates:
    """Return the coordinates under Newton-Schulz in every segment; an empty slot decays nothing and writes nothing."""
    momentum = momentum_coordinates(plan, write)
    retention = plan.split(write.retention, 1.0).movedim(2, 0)
    release = plan.split(write.release, 0.0).movedim(2, 0).unsqueeze(-1)
    writers = _writers(plan, rule.update_every)
    own = torch.arange(plan.width, device=writers.device).view(-1, 1, 1, 1, 1) == writers.unsqueeze(2)
    return Coordinates(momentum, scanned(retention, torch.where(own, release, 0.0)), writers)


def scanned(decay: Tensor, inputs: Tensor) -> Tensor:
    """Run a recurrence on coordinates: those of its `inputs`, and one more for what it starts from."""
    start = F.pad(torch.zeros_like(inputs[0]), (0, 1), value=1.0)
    return linear_scan(decay, F.pad(inputs, (0, 1)), start)


def _writers(plan: SegmentPlan, every: int) -> Int[Tensor, "segments batch writers"]:
    """Return the slots that write in each row of each segment, `width` for none."""
    writing = plan.split(writing_tokens(plan.position, every), pad=0.0)
    slots = torch.where(writing, torch.arange(plan.width, device=writing.device), plan.width)
    # The tokens of a segment follow each other in one document.
    return slots.sort(-1).values[..., : -(-plan.width // every)]


def seen_by_reads(rule: MemoryRule, coordinates: Tensor) -> Tensor:
    """Return the coordinates of the memory that each token reads, [..., slots, coordinates]: its own, or the last."""
    if rule.read == "pre":
        first = F.pad(torch.zeros_like(coordinates[:1, ..., 1:]), (0, 1), value=1.0)
        coordinates = torch.cat([first, coordinates[:-1]])
    return coordinates.movedim(0, -2)


def apart(coordinates: Tensor, carried: int) -> tuple[Tensor, ...]:
    """Return the coordinates of the factors, and each of the last `carried` with an axis of one."""
    return torch.split(coordinates, [coordinates.shape[-1] - carried, *[1] * carried], -1)


def weighted_sum(inside: Tensor, left: Tensor, right: Tensor, *carried: tuple[Tensor, Tensor]) -> Tensor:
    """Return sum_i inside[i] l_i r_i^T + sum_j x_j X_j for pairs (x, X) of `carried`; x has an axis of one."""
    total = (left * inside.unsqueeze(-1)).mT @ right
    for share, matrix in carried:
        total = torch.addcmul(total, share.unsqueeze(-1), matrix)
    return total


@torch.no_grad()
def squared_errors(factors: list[Factors]) -> Tensor:
    """Return ||M_xi(k) - v||^2 of each slot of some segments, undivided and detached."""
    return torch.stack([_squared_error(found) for found in factors])


def _squared_error(found: Factors) -> Tensor:
    """Return ||M_xi(k) - v||^2 of each slot of a segment."""
    error = found.left[0] if found.error is None else found.error
    squared: Tensor = torch.linalg.vecdot(error, error)
    return squared * found.divisor.square() if found.error is None and found.divisor is not None else squared


@torch.no_grad()
def omega_loss(plan: SegmentPlan, write: WriteCoefficients, errors: Tensor, mass: int) -> Tensor:
    """Return the mean Omega loss (`recurrent.MemoryOutput`) from the squared error of every slot of every segment.

    `mass` is what the step scale divided the window weights by.
    """
    window = write.window.shape[-1]
    weights = plan.split(write.window, 0.0).transpose(2, 3)
    # The window holds 2 loss_scale gamma, by age; the slots stand oldest first.
    near = errors.unfold(-1, window, 1 if write.threshold is None else window)
    total: Tensor = torch.linalg.vecdot(near, weights.flip(-1)).sum()
    return total * (0.5 * mass) / write.window[..., 0].numel()
