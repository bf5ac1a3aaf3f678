"""The parallel form of the memory: whole chunks as matrix products, equal to `recurrent` on every output and gradient.

Inside a segment (see `plan`) the anchor xi is fixed, so every gradient is known at once as rank-one factors
l_i r_i^T, and momentum, window and retention are linear in them. With the decay-product matrices Theta and A (`scan`),
the window band G (`window`) and the cumulative decays t = theta_1 ... theta_t, a = alpha_1 ... alpha_t:

    U = Theta diag(intake) G,      S_t = t_t S + sum_i U[t, i] l_i r_i^T
    W = A diag(release) U,         M_t = a_t M + s_t S + sum_i W[t, i] l_i r_i^T,      s = A diag(release) t

so M_t x = a_t M x + s_t S x + sum_i W[t, i] (r_i . x) l_i for any vector x: no M_t is ever formed. Only the end of each
segment, two small matrix products, is sequential; all reads are one batched product afterwards. This is ATLAS
(2505.23735) Eq. 16 with momentum and window (derived; equal to the loop to rounding in float64).

Under Newton-Schulz M_t is no longer linear in the factors: S_t and M_t are then formed for each token of one segment
at a time, and recomputed in the backward pass so that only one segment is held.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from atlas_ref.errors import UserError
from atlas_ref.functional.scan import decay_products
from atlas_ref.functional.ttl import gathered_window, waiting_losses
from atlas_ref.functional.window import recent, window_band
from atlas_ref.memory.architecture import Factors, Weights, gradient_factors, predict
from atlas_ref.memory.plan import Rows, SegmentPlan, make_plan, where_rows
from atlas_ref.memory.recurrent import MemoryOutput
from atlas_ref.memory.rules import Gates, MemoryRule, WriteCoefficients, update, write_coefficients
from atlas_ref.memory.shards import Shards
from atlas_ref.memory.state import MemoryState


class _Mixing(NamedTuple):
    """The matrices of the module docstring, for every segment: [segments, batch, heads, slots(, slots or span)]."""

    weight_decay: Tensor  # a
    momentum_decay: Tensor  # t
    momentum_share: Tensor  # s
    retained: Tensor  # A diag(release)
    momentum_mix: Tensor  # U
    weight_mix: Tensor  # W


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
    reads, (weights, momentum, anchor), errors = run(rule, plan, segments, _mixing(plan, write), start, state)
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


def _mixing(plan: SegmentPlan, write: WriteCoefficients) -> _Mixing:
    """Return the matrices of every segment; an empty slot decays nothing and writes nothing."""
    retention = plan.split(write.retention, 1.0).transpose(2, 3)
    decay = plan.split(write.momentum, 1.0).transpose(2, 3)
    intake = plan.split(write.intake, 0.0).transpose(2, 3)
    release = plan.split(write.release, 0.0).transpose(2, 3)
    band = window_band(plan.split(write.window, 0.0).transpose(2, 3))
    momentum_decay = torch.cumprod(decay, -1)
    momentum_mix = decay_products(decay) @ (intake.unsqueeze(-1) * band)
    retained = decay_products(retention) * release.unsqueeze(-2)
    return _Mixing(
        weight_decay=torch.cumprod(retention, -1),
        momentum_decay=momentum_decay,
        momentum_share=(retained @ momentum_decay.unsqueeze(-1)).squeeze(-1),
        retained=retained,
        momentum_mix=momentum_mix,
        weight_mix=retained @ momentum_mix,
    )


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
    ends = _Mixing(*(matrix[:, :, :, -1].unsqueeze(-1) for matrix in mixing))
    # Taken apart once: indexing segment by segment would make a gradient of full size for each.
    inputs = zip(segments.keys.unbind(), segments.values.unbind(), *(end.unbind() for end in ends), strict=True)
    for n, (keys, values, decay, kept, share, _, momentum_mix, weight_mix) in enumerate(inputs):
        carry = _enter(plan, n, start, carry)
        found = gradient_factors(rule.architecture, carry.anchor, keys, values, rule.normalised)
        entered.append(carry)
        factors.append(found)
        decay, kept, share = decay.unsqueeze(-1), kept.unsqueeze(-1), share.unsqueeze(-1)
        carry = _Carry(
            tuple(
                decay * m + share * s + (left * weight_mix).mT @ right
                for m, s, left, right in zip(carry.weights, carry.momentum, found.left, found.right, strict=True)
            ),
            tuple(
                kept * s + (left * momentum_mix).mT @ right
                for s, left, right in zip(carry.momentum, found.left, found.right, strict=True)
            ),
            carry.anchor,
        )
    return _read_linear(rule, segments.queries, mixing, entered, factors), carry, _squared_errors(factors)


def _read_linear(
    rule: MemoryRule, queries: Tensor, mixing: _Mixing, entered: list[_Carry], factors: list[Factors]
) -> Tensor:
    """Return the reads of all segments: M_t x = a_t M x + s_t S x + sum_i W[t, i] (r_i . x) l_i."""
    decay, share, mix = mixing.weight_decay, mixing.momentum_share, mixing.weight_mix
    if rule.read == "pre":
        decay, share, mix = _previous(decay, 1.0), _previous(share, 0.0), _previous(mix.mT, 0.0).mT
    layers = []
    for i in range(len(factors[0].left)):
        weights = torch.stack([carry.weights[i] for carry in entered])
        momentum = torch.stack([carry.momentum[i] for carry in entered])
        left, right = torch.stack([f.left[i] for f in factors]), torch.stack([f.right[i] for f in factors])

        layers.append(_mixed_product(decay, share, mix, weights, momentum, left, right))
    return predict(rule.architecture, layers, queries)


def _mixed_product(
    decay: Tensor, share: Tensor, mix: Tensor, weights: Tensor, momentum: Tensor, left: Tensor, right: Tensor
) -> Callable[[Tensor], Tensor]:
    """Return x_t -> M_t x_t for every token of every segment (module docstring)."""

    def multiply(x: Tensor) -> Tensor:
        carried = decay.unsqueeze(-1) * (x @ weights.mT) + share.unsqueeze(-1) * (x @ momentum.mT)
        return carried + ((x @ right.mT) * mix) @ left

    return multiply


def _previous(x: Tensor, first: float) -> Tensor:
    """Shift the last axis by one token: what held before each token, `first` before the segment."""
    return torch.nn.functional.pad(x[..., :-1], (1, 0), value=first)


def _run_orthogonalised(
    rule: MemoryRule, plan: SegmentPlan, segments: _Segments, mixing: _Mixing, start: _Start, state: MemoryState
) -> tuple[Tensor, _Carry, Tensor]:
    """Go from segment to segment with every S_t and M_t of one segment formed at a time."""
    carry = _Carry(state.weights, state.momentum, state.anchor)
    reads, errors = [], []
    all_inputs = zip(*(x.unbind() for x in segments), strict=True)
    all_matrices = zip(*(matrix.unbind() for matrix in mixing), strict=True)
    for n, (inputs, matrices) in enumerate(zip(all_inputs, all_matrices, strict=True)):
        carry = _enter(plan, n, start, carry)
        read, weights, momentum, missed = checkpoint(
            _orthogonalised_segment,
            rule,
            _Segments(*inputs),
            _Mixing(*matrices),
            carry,
            use_reentrant=False,
            preserve_rng_state=False,
        )
        carry = _Carry(weights, momentum, carry.anchor)
        reads.append(read)
        errors.append(missed)
    return torch.stack(reads), carry, torch.cat(errors)


def _orthogonalised_segment(
    rule: MemoryRule, inputs: _Segments, mixing: _Mixing, carry: _Carry
) -> tuple[Tensor, Weights, Weights, Tensor]:
    """Return the reads of one segment, M and S after it, and its squared errors.

    S_t -> NS(S_t) -> M_t, each [batch, heads, time, out, in].
    """
    factors = gradient_factors(rule.architecture, carry.anchor, inputs.keys, inputs.values, rule.normalised)
    layers: list[Callable[[Tensor], Tensor]] = []
    last_weights, last_momentum = [], []
    for m, s, left, right in zip(carry.weights, carry.momentum, factors.left, factors.right, strict=True):
        gradients = left.unsqueeze(-1) * right.unsqueeze(-2)
        momentum = _spread(mixing.momentum_decay, s) + _combine(mixing.momentum_mix, gradients)
        weights = _spread(mixing.weight_decay, m) + _combine(mixing.retained, update(rule, momentum))
        last_weights.append(weights[:, :, -1])
        last_momentum.append(momentum[:, :, -1])
        if rule.read == "pre":
            weights = torch.cat([m.unsqueeze(2), weights[:, :, :-1]], 2)
        layers.append(_each_token(weights))
    reads = predict(rule.architecture, layers, inputs.queries)
    return reads, tuple(last_weights), tuple(last_momentum), _squared_errors([factors])


def _each_token(weights: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the product of each token's own matrix with its vector."""
    return lambda x: (weights @ x.unsqueeze(-1)).squeeze(-1)


def _spread(decay: Tensor, matrix: Tensor) -> Tensor:
    """Return decay_t * matrix for every token t."""
    return decay[..., None, None] * matrix.unsqueeze(2)


def _combine(mix: Tensor, matrices: Tensor) -> Tensor:
    """Return sum_i mix[t, i] matrices[i] for every token t, over a trailing out x in."""
    return torch.unflatten(mix @ matrices.flatten(-2), -1, matrices.shape[-2:])
