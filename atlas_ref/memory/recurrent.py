"""The specification of the memory: one token after another, as a literal loop.

For each token t, in this order:
    RESET    a token that begins a document finds M_0, S = 0 and an empty window
    SHARD    a token that begins a further shard of its document finds M_0 and a share of S (`shards`)
    ANCHOR   at the start of a chunk, xi <- M
    WRITE    g = sum_a gamma[t, a] grad l(xi; k_{t-a}, v_{t-a}),  S <- theta S + intake g,  M <- alpha M + release U(S)
    READ     y_t = M(q_t)   (`post`; `pre` reads before the write, `anchor` at xi, the memory at the chunk's start)

Under a link (`link`) M is the dual state A: reads and gradients see W = link(A), and the gradient is with respect to W.
The other axes of MIRAS (2504.13173) change g (`bias`, and where it is taken), or the last step of WRITE (`rules`).

Where one token in N writes (`functional.ttl`), its g is the sum of those of the last N tokens, all at its own anchor.

The inner gradient is taken by automatic differentiation, not from the formulas of the chunked form, so that the two
cannot share a mistake. Every other form of the memory in this repository is judged against this file.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from atlas_ref.functional.ttl import waiting_losses
from atlas_ref.functional.window import in_sight, recent
from atlas_ref.memory.architecture import Weights, predict_with
from atlas_ref.memory.bias import error_map
from atlas_ref.memory.factors import curvature, least_one
from atlas_ref.memory.link import canonical, linked
from atlas_ref.memory.plan import crossings_before, token_positions
from atlas_ref.memory.rules import (
    Gates,
    MemoryRule,
    WriteCoefficients,
    implicit_weight,
    released,
    retained,
    write_coefficients,
)
from atlas_ref.memory.shards import Shards
from atlas_ref.memory.state import Carry, MemoryState


class MemoryOutput(NamedTuple):
    """What a memory returns: the reads, the state after the last token, and from the chunked form the Omega loss.

    `omega_loss` is the mean over rows, tokens and heads of
    L_t = loss_scale sum_a gamma[t, a] ||M_xi(k_{t-a}) - v_{t-a}||^2 at the anchors xi that the writes use (ATLAS
    2505.23735 Eq. 9), detached, for telemetry. The factors of `mass`, 1 / c and 1 / max(1, kappa), are not in it.
    """

    reads: Float[Tensor, "batch time heads values"]
    state: MemoryState
    omega_loss: Float[Tensor, ""] | None = None


def memory_recurrent(
    rule: MemoryRule,
    keys: Float[Tensor, "batch time heads features"],
    values: Float[Tensor, "batch time heads values"],
    queries: Float[Tensor, "batch time heads features"],
    gates: Gates,
    initial: tuple[Float[Tensor, "heads _out _in"], ...],
    state: MemoryState,
    reset: Bool[Tensor, "batch time"] | None,
    *,
    writes: bool = True,
    shards: Shards | None = None,
) -> MemoryOutput:
    """Run the memory of `rule` over `time` tokens (module docstring; ATLAS 2505.23735 Eq. 9-10, 32-33).

    `keys` and `queries` are features f(k), f(q); `initial` is M_0, restored where `reset` holds and at shard borders.
    Without `writes` no token writes, and everything else is as ever (the warm-up of decision `write-schedule`).
    UserError is raised where the gates are not those of the rule.
    """
    time = keys.shape[1]
    if time == 0:
        return MemoryOutput(values, state)
    position = token_positions(state.position, reset, time)
    coefficients = write_coefficients(rule, gates, position, writes)
    windows = torch.cat([*state.waiting, coefficients.window], 1)
    past_keys, past_values = torch.cat([state.window_keys, keys], 1), torch.cat([state.window_values, values], 1)
    past = state.window_keys.shape[1]
    carry = Carry(state.weights, state.momentum, state.anchor)
    reads = []
    for t in range(time):
        carry = _entered(rule, carry, initial, position[:, t], shards)
        if rule.read != "post":
            reads.append(_read(rule, carry.anchor if rule.read == "anchor" else carry.weights, queries[:, t]))
        seen = in_sight(past + 1, position[:, t], rule.chunk, rule.boundary).flip(-1)[:, :, None, None]
        # Selected, not multiplied by a weight of zero: what is out of sight counts for nothing, whatever it holds.
        near_keys, near_values = (torch.where(seen, x[:, t : t + past + 1], 0.0) for x in (past_keys, past_values))
        write = coefficients.at(t)
        place = retained(rule, write.retention, carry.weights) if rule.at_retained else carry.anchor
        seen_weights = tuple(linked(rule.link, matrix) for matrix in place)
        near = _gathered_gradient(rule, seen_weights, near_keys, near_values, windows[:, t:], position[:, t], write)
        carry = _written(rule, carry, near, write)
        if rule.read == "post":
            reads.append(_read(rule, carry.weights, queries[:, t]))
    count = position[:, -1] + 1
    window_keys, window_values = recent(count, past, past_keys, past_values)
    waiting = tuple(waiting_losses(windows, count, rule.update_every) for _ in state.waiting)
    weights, anchor = (tuple(canonical(rule.link, a) for a in part) for part in (carry.weights, carry.anchor))
    after = MemoryState(weights, carry.momentum, anchor, window_keys, window_values, count, waiting)
    return MemoryOutput(torch.stack(reads, 1), after)


def _entered(rule: MemoryRule, carry: Carry, initial: Weights, position: Tensor, shards: Shards | None) -> Carry:
    """Return what a token finds: RESET, SHARD and ANCHOR."""
    weights, momentum, anchor = carry
    first = _column(position == 0)
    weights = tuple(torch.where(first, new, old) for new, old in zip(initial, weights, strict=True))
    momentum = tuple(torch.where(first, 0.0, old) for old in momentum)
    if shards is not None:
        crossings = crossings_before(position, shards.length)
        crosses = _column(crossings >= 0)
        weights = tuple(torch.where(crosses, new, old) for new, old in zip(initial, weights, strict=True))
        momentum = tuple(shards.inherit(old, crossings) for old in momentum)
    opens = _column(position % rule.chunk == 0)
    if rule.link.name == "softmax":
        # Nothing that is read changes; without it a constant of each row grows until float32 loses the logits.
        weights = tuple(torch.where(opens, canonical(rule.link, a), a) for a in weights)
    anchor = tuple(torch.where(opens, new, old) for new, old in zip(weights, anchor, strict=True))
    return Carry(weights, momentum, anchor)


def _written(rule: MemoryRule, carry: Carry, gradient: Weights, write: WriteCoefficients) -> Carry:
    """WRITE: return what is left by a token that takes in the window gradient `gradient`."""
    decay, intake = write.momentum[..., None, None], write.intake[..., None, None]
    momentum = tuple(decay * s + intake * g for s, g in zip(carry.momentum, gradient, strict=True))
    return Carry(released(rule, write, carry.weights, momentum), momentum, carry.anchor)


def _gathered_gradient(
    rule: MemoryRule,
    weights: Weights,
    keys: Tensor,
    values: Tensor,
    windows: Tensor,
    position: Tensor,
    write: WriteCoefficients,
) -> Weights:
    """Return the sum of the window gradients of a token and the N-1 before it, each with its own window weights.

    keys, values: the last c+N-1 pairs, oldest first; windows[:, s] belongs to the token whose window is s ... s + c-1
    there, and is nothing where that token lies before the document of `position`.
    """
    length, every = windows.shape[-1], rule.update_every
    parts = []
    for s in range(every):
        inside = (position >= every - 1 - s)[:, None, None]
        gamma = torch.where(inside, windows[:, s], 0.0)
        if rule.algorithm == "implicit":
            square = keys[:, -1].square().sum(-1, keepdim=True)
            gamma = implicit_weight(gamma, write.step.unsqueeze(-1), square)
        near = (keys[:, s : s + length], values[:, s : s + length])
        parts.append(window_gradient(rule, weights, *near, gamma, write.threshold))
    return parts[0] if every == 1 else tuple(torch.stack(same).sum(0) for same in zip(*parts, strict=True))


def window_gradient(
    rule: MemoryRule,
    weights: Weights,
    keys: Float[Tensor, "batch window heads features"],
    values: Float[Tensor, "batch window heads values"],
    window: Float[Tensor, "batch heads window"],
    threshold: Float[Tensor, "batch heads"] | None = None,
) -> Weights:
    """Return sum_a gamma_a J(k_a)^T psi_a / (2 ls kappa_a) at `weights`, by automatic differentiation of P.

    J is the Jacobian of the prediction in the weights that are read, W and not A; psi that of `bias`. With `l2` it is
    the gradient of sum_a gamma_a 1/2 ||P(k_a) - v_a||^2 / kappa_a. Pairs oldest first, `window` by age, youngest first.
    """
    keys, values = keys.transpose(1, 2), values.transpose(1, 2)
    gamma = window.flip(-1)
    each = None if threshold is None else threshold.unsqueeze(-1).expand(gamma.shape)

    kappa = curvature(rule.architecture, weights, keys, values) if rule.normalised else None
    prediction, pull_back = torch.func.vjp(lambda w: predict_with(rule.architecture, w, keys), weights)[:2]
    if kappa is not None:
        gamma = gamma / least_one(rule, kappa, prediction - values, each)
    gradient: Weights = pull_back(gamma.unsqueeze(-1) * error_map(rule.bias, prediction, values, each))[0]
    return gradient


def _read(rule: MemoryRule, weights: Weights, query: Tensor) -> Tensor:
    """Return P(q) through the link for one token: [batch, heads, features] to [batch, heads, values]."""
    read = tuple(linked(rule.link, matrix) for matrix in weights)
    return predict_with(rule.architecture, read, query.unsqueeze(-2)).squeeze(-2)


def _column(rows: Tensor) -> Tensor:
    return rows[:, None, None, None]
