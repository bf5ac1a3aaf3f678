"""The specification of the memory: one token after another, as a literal loop.

For each token t, in this order:
    RESET    a token that begins a document finds M_0, S = 0 and an empty window
    SHARD    a token that begins a further shard of its document finds M_0 and a share of S (`shards`)
    ANCHOR   at the start of a chunk, xi <- M
    WRITE    g = sum_a gamma[t, a] grad l(xi; k_{t-a}, v_{t-a}),  S <- theta S + intake g,  M <- alpha M + release U(S)
    READ     y_t = M(q_t)   (`post`; `pre` reads before the write)

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
from atlas_ref.memory.architecture import Weights, curvature, predict_with
from atlas_ref.memory.plan import crossings_before, token_positions
from atlas_ref.memory.rules import Gates, MemoryRule, update, write_coefficients
from atlas_ref.memory.shards import Shards
from atlas_ref.memory.state import MemoryState


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
    """
    time = keys.shape[1]
    if time == 0:
        return MemoryOutput(values, state)
    position = token_positions(state.position, reset, time)
    coefficients = write_coefficients(rule, gates, position, writes)
    windows = torch.cat([*state.waiting, coefficients.window], 1)
    past_keys, past_values = torch.cat([state.window_keys, keys], 1), torch.cat([state.window_values, values], 1)
    past = state.window_keys.shape[1]
    weights, momentum, anchor = state.weights, state.momentum, state.anchor
    reads = []
    for t in range(time):
        first = _column(position[:, t] == 0)
        weights = tuple(torch.where(first, new, old) for new, old in zip(initial, weights, strict=True))
        momentum = tuple(torch.where(first, 0.0, old) for old in momentum)
        if shards is not None:
            crossings = crossings_before(position[:, t], shards.length)
            crosses = _column(crossings >= 0)
            weights = tuple(torch.where(crosses, new, old) for new, old in zip(initial, weights, strict=True))
            momentum = tuple(shards.inherit(old, crossings) for old in momentum)
        opens = _column(position[:, t] % rule.chunk == 0)
        anchor = tuple(torch.where(opens, new, old) for new, old in zip(weights, anchor, strict=True))
        if rule.read == "pre":
            reads.append(_read(rule, weights, queries[:, t]))
        seen = in_sight(past + 1, position[:, t], rule.chunk, rule.boundary).flip(-1)[:, :, None, None]
        # Selected, not multiplied by a weight of zero: what is out of sight counts for nothing, whatever it holds.
        near_keys, near_values = (torch.where(seen, x[:, t : t + past + 1], 0.0) for x in (past_keys, past_values))
        gradient = _gathered_gradient(rule, anchor, near_keys, near_values, windows[:, t:], position[:, t])
        retention, decay = coefficients.retention[:, t], coefficients.momentum[:, t]
        intake, release = coefficients.intake[:, t], coefficients.release[:, t]
        momentum = tuple(_gate(decay) * s + _gate(intake) * g for s, g in zip(momentum, gradient, strict=True))
        updates = tuple(update(rule, s) for s in momentum)
        weights = tuple(_gate(retention) * m + _gate(release) * u for m, u in zip(weights, updates, strict=True))
        if rule.read == "post":
            reads.append(_read(rule, weights, queries[:, t]))
    count = position[:, -1] + 1
    window_keys, window_values = recent(past_keys, count, past), recent(past_values, count, past)
    waiting = tuple(waiting_losses(windows, count, rule.update_every) for _ in state.waiting)
    after = MemoryState(weights, momentum, anchor, window_keys, window_values, count, waiting)
    return MemoryOutput(torch.stack(reads, 1), after)


def _gathered_gradient(
    rule: MemoryRule, anchor: Weights, keys: Tensor, values: Tensor, windows: Tensor, position: Tensor
) -> Weights:
    """Return the sum of the window gradients of a token and the N-1 before it, each with its own weights.

    keys, values: the last c+N-1 pairs, oldest first; windows[:, s] belongs to the token whose window is s ... s + c-1
    there, and is nothing where that token lies before the document of `position`.
    """
    length, every = windows.shape[-1], rule.update_every
    parts = []
    for s in range(every):
        inside = (position >= every - 1 - s)[:, None, None]
        weights = torch.where(inside, windows[:, s], 0.0)
        parts.append(window_gradient(rule, anchor, keys[:, s : s + length], values[:, s : s + length], weights))
    return parts[0] if every == 1 else tuple(torch.stack(same).sum(0) for same in zip(*parts, strict=True))


def window_gradient(rule: MemoryRule, anchor: Weights, keys: Tensor, values: Tensor, window: Tensor) -> Weights:
    """Return the gradient at `anchor` of sum_a gamma_a 1/2 ||M(k_a) - v_a||^2 / kappa_a, by automatic differentiation.

    keys, values: [batch, window, heads, .], oldest first; `window` [batch, heads, window] by age, youngest first.
    """
    keys, values = keys.transpose(1, 2), values.transpose(1, 2)
    gamma = window.flip(-1)
    if rule.normalised:
        gamma = gamma / curvature(rule.architecture, anchor, keys, values).clamp(min=1.0)

    def loss(weights: Weights) -> Tensor:
        error = predict_with(rule.architecture, weights, keys) - values
        return 0.5 * (gamma * error.square().sum(-1)).sum()

    gradient: Weights = torch.func.grad(loss)(anchor)
    return gradient


def _read(rule: MemoryRule, weights: Weights, query: Tensor) -> Tensor:
    """Return M(q) for one token: [batch, heads, features] to [batch, heads, values]."""
    return predict_with(rule.architecture, weights, query.unsqueeze(-2)).squeeze(-2)


def _gate(gate: Tensor) -> Tensor:
    return gate[..., None, None]


def _column(rows: Tensor) -> Tensor:
    return rows[:, None, None, None]
