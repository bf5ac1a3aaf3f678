"""The parallel form of the memory: whole chunks as matrix products, equal to `recurrent` on every output and gradient.

Inside a segment (see `plan`) the anchor xi is fixed, so every gradient is known at once as rank-one factors
l_i r_i^T, and momentum, window and retention are linear in them. So S_t and M_t are sums, and their coordinates, row t
of U and W, obey the recurrences of the memory themselves (`scan`), with G[t, i] the weight of pair i in the window of t:

    U[t] = theta_t U[t-1] + intake_t [G[t], 0],         S_t = sum_i U[t, i] l_i r_i^T + U[t, S] S
    W[t] = alpha_t W[t-1] + release_t [U[t], 0],        M_t = sum_i W[t, i] l_i r_i^T + W[t, S] S + W[t, M] M

and M_t x = sum_i W[t, i] (r_i . x) l_i + W[t, S] S x + W[t, M] M x for any vector x: no M_t is ever formed. Only the
end of each segment, two small matrix products, is sequential; all reads are one batched product afterwards. This is
ATLAS (2505.23735) Eq. 16 with momentum and window (derived; equal to the loop to rounding in float64).

Under Newton-Schulz M_t is no longer linear in the factors, but in the orthogonalised momenta of the tokens that write:

    W[t] = alpha_t W[t-1] + release_t [e_t, 0],         M_t = sum_i W[t, i] NS(S_i) + W[t, M] M

These are formed for the writing tokens of one segment at a time, and recomputed in the backward pass so that only one
segment is held.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from atlas_ref.errors import UserError
from atlas_ref.functional.scan import linear_scan
from atlas_ref.functional.ttl import gathered_window, waiting_losses, writing_tokens
from atlas_ref.functional.window import recent, window_band
from atlas_ref.memory.architecture import Factors, Weights, gradient_factors, predict
from atlas_ref.memory.plan import Rows, SegmentPlan, make_plan, where_rows
from atlas_ref.memory.recurrent import MemoryOutput
from atlas_ref.memory.rules import Gates, MemoryRule, WriteCoefficients, update, write_coefficients
from atlas_ref.memory.shards import Shards
from atlas_ref.memory.state import MemoryState


class _Mixing(NamedTuple):
    """The coordinates of the module docstring in every segment: [slots, segments, batch, heads, coordinates].

    Under Newton-Schulz `weights` has a coordinate for each of the `writers`, the slots that write in each row.
    """

    momentum: Tensor  # U
    weights: Tensor  # W
    writers: Int[Tensor, "segments batch writers"] | None


class _Segments(NamedTuple):
    """The inputs of every segment: [segments, batch, heads, tokens, dim]; keys and values stand behind their window."""

    keys: Tensor
    values: Tensor
    queries: Tensor


def memory_chunked(
    rule: MemoryRule,
    keys: Float[Tensor, "batch time heads features"],
    values: Float[Tensor, "batch time heads values"],
    queries: Float[Tensor, "batch time heads features"],
    gates: Gates,
    initial: tuple[Float[Tensor, "heads _out _in"], ...],
    state: MemoryState,
    reset: Bool[Tensor, "batch time"] | None,
    plan: SegmentPlan | None = None,
    *,
    writes: bool = True,
    shards: Shards | None = None,
) -> MemoryOutput:
    """Run the memory of `rule` over `time` tokens, segment by segment (module docstring).

    Arguments and results are those of `memory_recurrent`. `plan` saves making the layout again where several memories
    see the same tokens; it must come from `make_plan` with the same position, reset, time, chunk and length of shards.
    """
    time, past = keys.shape[1], state.window_keys.shape[1]
    shard = shards.length if shards is not None else 0
    if plan is None:
        plan = make_plan(state.position, reset, time, rule.chunk, shard)
    if plan.shard != shard:
        raise UserError(f"memory: the plan is for shards of {plan.shard} tokens, expected {shard}")
    if time == 0:
        return MemoryOutput(values, state)
    past_keys, past_values = keys, values
    if past:
        past_keys, past_values = torch.cat([state.window_keys, keys], 1), torch.cat([state.window_values, values], 1)
    sight = plan.in_sight(past, rule.chunk, rule.boundary)
    segments = _Segments(
        plan.split_window(past_keys, past, sight).transpose(2, 3),
        plan.split_window(past_values, past, sight).transpose(2, 3),
        plan.split(queries, 0.0).transpose(2, 3),
    )
    write = write_coefficients(rule, gates, plan.position, writes)
    seen, waiting = plan.seen(state.position), state.waiting
    if waiting:
        windows = torch.cat([*waiting, write.window], 1)
        write = write._replace(window=gathered_window(windows, plan.position, rule.update_every))
        waiting = (waiting_losses(windows, seen, rule.update_every),)
    run = _run_orthogonalised if rule.orthogonalised else _run_linear
    start = _Start(initial, shards)
    reads, (weights, momentum, anchor), errors = run(rule, plan, segments, _mixing(rule, plan, write), start, state)
    # What `mass` divides the window weights by is not part of the loss.
    mass = gates.window.shape[-1] if rule.step_scale == "mass" else 1
    omega_loss = _omega_loss(plan, write.window, errors, mass) if writes else None
    window_keys, window_values = recent(past_keys, seen, past), recent(past_values, seen, past)
    final = MemoryState(weights, momentum, anchor, window_keys, window_values, seen, waiting)
    return MemoryOutput(plan.join(reads.transpose(2, 3)), final, omega_loss)


@torch.no_grad()
def _omega_loss(plan: SegmentPlan, window: Tensor, errors: Tensor, mass: int) -> Tensor:
    """Return the mean Omega loss (`MemoryOutput`) from the squared error of every slot of every segment."""
    weights = plan.split(window, 0.0).transpose(2, 3)
    # The window holds 2 loss_scale gamma, by age; the slots stand oldest first.
    total: Tensor = torch.linalg.vecdot(errors.unfold(-1, window.shape[-1], 1), weights.flip(-1)).sum()
    return total * (0.5 * mass) / window[..., 0].numel()


@torch.no_grad()
def _squared_errors(factors: list[Factors]) -> Tensor:
    """Return ||M_xi(k) - v||^2 of each slot of some segments, undivided and detached."""
    error = torch.stack([found.left[0] for found in factors])
    squared: Tensor = torch.linalg.vecdot(error, error)
    divisors = [found.divisor for found in factors if found.divisor is not None]
    return squared * torch.stack(divisors).square() if divisors else squared


def _mixing(rule: MemoryRule, plan: SegmentPlan, write: WriteCoefficients) -> _Mixing:
    """Return the coordinates in every segment; an empty slot decays nothing and writes nothing."""
    band = window_band(plan.split(write.window, 0.0).transpose(2, 3)).movedim(3, 0)
    decay, retention = (plan.split(x, 1.0).movedim(2, 0) for x in (write.momentum, write.retention))
    intake, release = (plan.split(x, 0.0).movedim(2, 0).unsqueeze(-1) for x in (write.intake, write.release))
    momentum = _coordinates(decay, intake * band)
    if not rule.orthogonalised:
        return _Mixing(momentum, _coordinates(retention, release * momentum), None)
    writers = _writers(plan, rule.update_every)
    own = torch.arange(plan.width, device=writers.device).view(-1, 1, 1, 1, 1) == writers.unsqueeze(2)
    return _Mixing(momentum, _coordinates(retention, torch.where(own, release, 0.0)), writers)


def _coordinates(decay: Tensor, inputs: Tensor) -> Tensor:
    """Run a recurrence on coordinates: those of its `inputs`, and one more for what it starts from."""
    start = F.pad(torch.zeros_like(inputs[0]), (0, 1), value=1.0)
    return linear_scan(decay, F.pad(inputs, (0, 1)), start)


def _writers(plan: SegmentPlan, every: int) -> Int[Tensor, "segments batch writers"]:
    """Return the slots that write in each row of each segment, `width` for none."""
    writing = plan.split(writing_tokens(plan.position, every), pad=0.0)
    slots = torch.where(writing, torch.arange(plan.width, device=writing.device), plan.width)
    # The tokens of a segment follow each other in one document.
    return slots.sort(-1).values[..., : -(-plan.width // every)]


class _Carry(NamedTuple):
    """M, S and xi at a segment border."""

    weights: Weights
    momentum: Weights
    anchor: Weights


class _Start(NamedTuple):
    """M_0, and what goes over the border of a shard."""

    initial: Weights
    shards: Shards | None


def _enter(plan: SegmentPlan, n: int, start: _Start, carry: _Carry) -> _Carry:
    """Return the carry at the first token of segment n: new documents and shards restart, rows in phase re-anchor."""
    weights = _restarted(plan.resets[n], start.initial, carry.weights)
    momentum = tuple(where_rows(plan.resets[n], torch.zeros_like(s), s) for s in carry.momentum)
    crossings = plan.crossings[n]
    if start.shards is not None and crossings is not None:
        weights = _restarted(crossings >= 0, start.initial, weights)
        momentum = tuple(start.shards.inherit(s, crossings) for s in momentum)
    anchor = tuple(where_rows(plan.opens[n], m, xi) for m, xi in zip(weights, carry.anchor, strict=True))
    return _Carry(weights, momentum, anchor)


def _restarted(rows: Rows, initial: Weights, weights: Weights) -> Weights:
    """Return M_0 in the rows that `rows` names and M in the others."""
    return tuple(where_rows(rows, m0.expand_as(m), m) for m0, m in zip(initial, weights, strict=True))


def _run_linear(
    rule: MemoryRule, plan: SegmentPlan, segments: _Segments, mixing: _Mixing, start: _Start, state: MemoryState
) -> tuple[Tensor, _Carry, Tensor]:
    """Carry M and S from segment to segment, then read all segments at once; return squared errors too."""
    carry = _Carry(state.weights, state.momentum, state.anchor)
    entered: list[_Carry] = []
    factors: list[Factors] = []
    # Taken apart once: indexing segment by segment would make a gradient of full size for each.
    inputs = (segments.keys, segments.values, mixing.momentum[-1], mixing.weights[-1])
    for n, (keys, values, u, w) in enumerate(zip(*(x.unbind() for x in inputs), strict=True)):
        carry = _enter(plan, n, start, carry)
        found = gradient_factors(rule.architecture, carry.anchor, keys, values, rule.normalised)
        entered.append(carry)
        factors.append(found)
        old = zip(carry.weights, carry.momentum, found.left, found.right, strict=True)
        new = [(_sum(w, left, right, s, m), _sum(u, left, right, s)) for m, s, left, right in old]
        carry = _Carry(tuple(m for m, _ in new), tuple(s for _, s in new), carry.anchor)
    return _read_linear(rule, segments.queries, mixing.weights, entered, factors), carry, _squared_errors(factors)


def _sum(coordinates: Tensor, left: Tensor, right: Tensor, *carried: Tensor) -> Tensor:
    """Return sum_i x[i] l_i r_i^T + sum_j x[span + j] carried_j for one x [..., span + carried] of each head."""
    span = left.shape[-2]
    total = (left * coordinates[..., :span].unsqueeze(-1)).mT @ right
    for x, matrix in zip(coordinates[..., span:, None, None].unbind(-3), carried, strict=True):
        total = torch.addcmul(total, x, matrix)
    return total


def _read_linear(
    rule: MemoryRule, queries: Tensor, coordinates: Tensor, entered: list[_Carry], factors: list[Factors]
) -> Tensor:
    """Return the reads of all segments: M_t x = sum_i W[t, i] (r_i . x) l_i + W[t, S] S x + W[t, M] M x."""
    mix = _seen_by_reads(rule, coordinates)
    layers = []
    for i in range(len(factors[0].left)):
        weights = torch.stack([carry.weights[i] for carry in entered])
        momentum = torch.stack([carry.momentum[i] for carry in entered])
        left, right = torch.stack([f.left[i] for f in factors]), torch.stack([f.right[i] for f in factors])
        layers.append(_mixed_product(mix, weights, momentum, left, right))
    return predict(rule.architecture, layers, queries)


def _mixed_product(
    mix: Tensor, weights: Tensor, momentum: Tensor, left: Tensor, right: Tensor
) -> Callable[[Tensor], Tensor]:
    """Return x_t -> M_t x_t for every token of every segment (module docstring)."""
    inside, share, decay = mix.split_with_sizes([left.shape[-2], 1, 1], -1)

    def multiply(x: Tensor) -> Tensor:
        carried = decay * (x @ weights.mT) + share * (x @ momentum.mT)
        return carried + ((x @ right.mT) * inside) @ left

    return multiply


def _seen_by_reads(rule: MemoryRule, coordinates: Tensor) -> Tensor:
    """Return the coordinates of the memory that each token reads, [..., slots, coordinates]: its own, or the last."""
    if rule.read == "pre":
        first = F.pad(torch.zeros_like(coordinates[:1, ..., 1:]), (0, 1), value=1.0)
        coordinates = torch.cat([first, coordinates[:-1]])
    return coordinates.movedim(0, -2)


def _run_orthogonalised(
    rule: MemoryRule, plan: SegmentPlan, segments: _Segments, mixing: _Mixing, start: _Start, state: MemoryState
) -> tuple[Tensor, _Carry, Tensor]:
    """Go from segment to segment with NS(S_i) of the writing tokens of one segment formed at a time."""
    assert mixing.writers is not None
    carry = _Carry(state.weights, state.momentum, state.anchor)
    reads, errors = [], []
    last = mixing.momentum[-1]
    # A slot of no token stands for the last: nothing of it is written.
    index = mixing.writers.clamp(max=plan.width - 1).movedim(-1, 0)[..., None, None]
    writing = mixing.momentum.gather(0, index.expand(-1, -1, -1, *mixing.momentum.shape[3:])).movedim(0, -2)
    inputs = (*segments, writing, last, mixing.weights[-1], _seen_by_reads(rule, mixing.weights))
    for n, found in enumerate(zip(*(x.unbind() for x in inputs), strict=True)):
        carry = _enter(plan, n, start, carry)
        read, weights, momentum, missed = checkpoint(
            _orthogonalised_segment, rule, carry, *found, use_reentrant=False, preserve_rng_state=False
        )
        carry = _Carry(weights, momentum, carry.anchor)
        reads.append(read)
        errors.append(missed)
    return torch.stack(reads), carry, torch.cat(errors)


def _orthogonalised_segment(
    rule: MemoryRule,
    carry: _Carry,
    keys: Tensor,
    values: Tensor,
    queries: Tensor,
    writing: Tensor,
    u: Tensor,
    w: Tensor,
    mix: Tensor,
) -> tuple[Tensor, Weights, Weights, Tensor]:
    """Return the reads of one segment, M and S after it, and its squared errors.

    S_i -> NS(S_i) for every token i that writes: [batch, heads, writers, out, in]; u and w are the last rows of U and W.
    """
    factors = gradient_factors(rule.architecture, carry.anchor, keys, values, rule.normalised)
    layers: list[Callable[[Tensor], Tensor]] = []
    last_weights, last_momentum = [], []
    for m, s, left, right in zip(carry.weights, carry.momentum, factors.left, factors.right, strict=True):
        momentum = _sum(writing, left.unsqueeze(2), right.unsqueeze(2), s.unsqueeze(2))
        updates = torch.cat([update(rule, momentum), m.unsqueeze(2)], 2)
        last_weights.append((w.unsqueeze(-2) @ updates.flatten(-2)).view_as(m))
        last_momentum.append(_sum(u, left, right, s))
        layers.append(_each_token(mix, updates))
    reads = predict(rule.architecture, layers, queries)
    return reads, tuple(last_weights), tuple(last_momentum), _squared_errors([factors])


def _each_token(mix: Tensor, matrices: Tensor) -> Callable[[Tensor], Tensor]:
    """Return x_t -> sum_i mix[t, i] matrices_i x_t."""

    def multiply(x: Tensor) -> Tensor:
        products = x.unsqueeze(2) @ matrices.mT
        return (products * mix.mT.unsqueeze(-1)).sum(2)

    return multiply
