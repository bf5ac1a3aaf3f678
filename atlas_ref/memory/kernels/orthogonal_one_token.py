"""One write under Newton-Schulz and one read of a token, by the kernels of a segment that has no other (`orthogonal`).

    S <- theta S + intake sum_a gamma_a r_a (A k_a - v_a) k_a^T,      M <- alpha M + release NS(S),      y = M q

The slots of the segment are the pairs of the token's window; those out of its sight hold nothing. What begins with the
token is told by its position, as in `layout`. The reference is `memory.one_token`; there is no gradient, as decoding
needs none.
"""

import torch
from torch import Tensor

from atlas_ref.functional.window import in_sight
from atlas_ref.memory.architecture import predict_with
from atlas_ref.memory.kernels.call import MemoryCall, Ran
from atlas_ref.memory.kernels.held import Held
from atlas_ref.memory.kernels.one_token import squared_errors
from atlas_ref.memory.kernels.orthogonal import orthogonal_run
from atlas_ref.memory.kernels.orthogonal_given import Entering, Iteration, shares_of
from atlas_ref.memory.rules import MemoryRule, WriteCoefficients


def run_orthogonal_alone(call: MemoryCall) -> Ran:
    """Run a call of one token; squared errors are those of its window."""
    rule, plan, asked, write, start, state, measured = call
    keys, values = state.with_window(asked.keys, asked.values)
    position = plan.position[:, 0]
    resets, opens = (mark.int().unsqueeze(0) for mark in (position == 0, position % rule.chunk == 0))
    entering = _entering(rule, position, keys, values, asked.queries, write)
    iteration, held = Iteration.of(rule, keys.device), Held.of(state)
    reads, anchors, after = orthogonal_run(iteration, resets, opens, entering, start.initial[0], held)
    if rule.read == "anchor":
        reads = predict_with(rule.architecture, (anchors,), entering.queries)
    errors = squared_errors(rule, position, keys, values, after.anchor) if measured else None
    return reads[0].transpose(1, 2), after.carry(), errors


def _entering(
    rule: MemoryRule, position: Tensor, keys: Tensor, values: Tensor, queries: Tensor, write: WriteCoefficients
) -> Entering:
    """Return the segment of one token: its pairs, and what of them, of S and of M is in S, in M and in the read."""
    sight = in_sight(keys.shape[1], position, rule.chunk, rule.boundary).flip(-1)[:, None, :, None]
    # Selected, not multiplied by a weight of zero: what is out of sight counts for nothing, whatever it holds.
    near, targets = (torch.where(sight, x.transpose(1, 2), 0.0) for x in (keys, values))
    inside = write.intake[:, 0].unsqueeze(-1) * write.window[:, 0].flip(-1)
    decay = write.momentum[:, 0].unsqueeze(-1)
    last = torch.stack([write.release[:, 0], write.retention[:, 0]], -1)
    # Before its write a token reads what M was.
    seen = torch.stack([torch.zeros_like(last[..., 0]), torch.ones_like(last[..., 0])], -1)
    rows = (inside.unsqueeze(2), decay.unsqueeze(2), inside, decay, last)
    mix = (last if rule.read == "post" else seen).unsqueeze(-1)
    found = (near, targets, shares_of(rule, near), queries.transpose(1, 2), *rows, mix)
    return Entering._make(x.unsqueeze(0) for x in found)
