"""Ridge regression over the whole document: at every token the memory that fits all pairs so far best.

MesaNet (2506.05233) solves what the other rules take one step towards. With alpha = retention and eta = step size,

    H_t = alpha_t H_{t-1} + eta_t k_t k_t^T,        G_t = alpha_t G_{t-1} + eta_t v_t k_t^T,

    M_t = G_t (H_t + Lambda)^{-1},        y_t = M_t q_t

and M_t minimises 1/2 sum_i w_i ||M k_i - v_i||^2 + 1/2 tr(M Lambda M^T), w_i = eta_i alpha_{i+1} ... alpha_t: the Omega
loss whose window is the document. Lambda = diag(ridge) does not decay. (Recursive least squares is another model: there
the regulariser decays with alpha, and the two part as soon as alpha < 1.)

A document begins with H = G = 0, so its first memory is the regularised fit of its first pair; there is no M_0.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from atlas_ref.errors import UserError
from atlas_ref.functional.looking import may_look
from atlas_ref.functional.scan import linear_scan
from atlas_ref.memory.layout import make_plan
from atlas_ref.memory.plan import where_rows
from atlas_ref.memory.state import StateTree

SEGMENT = 32
"""Tokens whose D x D systems are held at a time; a schedule, and no part of the meaning."""


@dataclass(frozen=True)
class RidgeState(StateTree):
    """G, H and how many tokens of its document each row has read; fp32 or wider."""

    cross: Float[Tensor, "batch heads values features"]
    gram: Float[Tensor, "batch heads features features"]
    position: Int[Tensor, " batch"]


def fresh_ridge_state(batch: int, heads: int, features: int, values: int, like: Tensor) -> RidgeState:
    """Return the state of `batch` rows before their first token: G = H = 0, of the dtype and device of `like`."""
    return RidgeState(
        cross=like.new_zeros(batch, heads, values, features),
        gram=like.new_zeros(batch, heads, features, features),
        position=torch.zeros(batch, dtype=torch.long, device=like.device),
    )


def ridge_scan(
    keys: Float[Tensor, "batch time heads features"],
    values: Float[Tensor, "batch time heads values"],
    queries: Float[Tensor, "batch time heads features"],
    retention: Float[Tensor, "batch time heads"],
    step: Float[Tensor, "batch time heads"],
    ridge: Float[Tensor, "heads features"],
    reset: Bool[Tensor, "batch time"] | None,
    state: RidgeState,
) -> tuple[Float[Tensor, "batch time heads values"], RidgeState]:
    """Return y_t = G_t (H_t + Lambda)^{-1} q_t of every token, and the state after the last (MesaNet 2506.05233).

    A token where `reset` holds begins a document. Each system is solved by Cholesky. UserError is raised where a ridge
    is not above 0, without which the systems of the first tokens have no solution.
    """
    if may_look() and not bool((ridge > 0.0).all()):
        raise UserError(f"ridge: the least of the ridge is {float(ridge.detach().min()):g}, valid is above 0")
    time = keys.shape[1]
    if time == 0:
        return values, state
    plan = make_plan(state.position, reset, time, SEGMENT)
    pairs = (plan.split(x, 0.0).transpose(2, 3) for x in (keys, values, queries))
    # Tokens first, as the scan has them; an empty slot keeps what it finds.
    gates = (plan.split(x, pad).transpose(1, 2) for x, pad in ((retention, 1.0), (step, 0.0)))
    cross, gram, reads = state.cross, state.gram, []
    for n, inputs in enumerate(zip(*(x.unbind() for x in (*pairs, *gates)), strict=True)):
        cross, gram = (where_rows(plan.resets[n], torch.zeros_like(x), x) for x in (cross, gram))
        read, cross, gram = checkpoint(
            _segment, ridge, cross, gram, *inputs, use_reentrant=False, preserve_rng_state=False
        )
        reads.append(read)
    after = RidgeState(cross, gram, plan.seen(state.position))
    return plan.join(torch.stack(reads).transpose(2, 3)), after


def _segment(
    ridge: Tensor,
    cross: Tensor,
    gram: Tensor,
    keys: Tensor,
    values: Tensor,
    queries: Tensor,
    retention: Tensor,
    step: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the reads of one segment [batch, heads, tokens, values], and G and H after it."""
    weighted = (keys * step.movedim(0, -1).unsqueeze(-1)).unsqueeze(-2)
    grams, crosses = (
        _accumulated(retention, x.unsqueeze(-1) * weighted, start) for x, start in ((keys, gram), (values, cross))
    )
    factor, failed = torch.linalg.cholesky_ex(grams + torch.diag_embed(ridge))
    # A document that diverged has no solution; its row alone says so, and the call goes on for the others.
    factor = torch.where((failed > 0)[..., None, None], torch.nan, factor)
    solved = torch.cholesky_solve(queries.movedim(2, 0).unsqueeze(-1), factor)
    return (crosses @ solved).squeeze(-1).movedim(0, 2), crosses[-1], grams[-1]


def _accumulated(retention: Tensor, products: Tensor, start: Tensor) -> Tensor:
    """Return X_t = alpha_t X_{t-1} + products_t of every token, [tokens, batch, heads, ., .]."""
    inputs = products.movedim(2, 0)
    return linear_scan(retention, inputs.flatten(-2), start.flatten(-2)).view_as(inputs)
