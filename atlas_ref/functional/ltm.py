"""A long-term memory that is a running mean of its inputs: the state of the source system that joins TRM and MAG.

It is not a Titans memory: there is no key, no value, no gradient and no inner loss. It is specified because ports of
that system have it, and because its source detached every step, so that nothing before it could learn.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from atlas_ref.functional.normalize import at_least_float32
from atlas_ref.functional.sight import sees_bad, spoil, take_out_bad

CHUNK = 64
"""Tokens of which one product makes the means: the weights of more would be more work than they save."""


def ltm_scan(
    x: Float[Tensor, "batch time dim"],
    carry: Float[Tensor, "batch dim"],
    position: Int[Tensor, "batch time"],
    decay: float,
) -> tuple[Float[Tensor, "batch time dim"], Float[Tensor, "batch dim"]]:
    """Return every m_t = decay m_{t-1} + (1 - decay) x_t and the last of them.

    m is zero before the first token of a document (position 0); `carry` is m before the call. The gradient flows
    through every step. State is computed and returned in at least float32, the outputs in the dtype of `x`.
    """
    state, states = at_least_float32(carry), []
    for token, first in zip(at_least_float32(x).unbind(1), (position == 0).unbind(1), strict=True):
        kept = torch.where(first.unsqueeze(-1), torch.zeros_like(state), state)
        state = decay * kept + (1.0 - decay) * token
        states.append(state)
    outputs = torch.stack(states, dim=1) if states else at_least_float32(x)
    return outputs.to(x.dtype), state


def ltm_chunked(
    x: Float[Tensor, "batch time dim"],
    carry: Float[Tensor, "batch dim"],
    position: Int[Tensor, "batch time"],
    decay: float,
) -> tuple[Float[Tensor, "batch time dim"], Float[Tensor, "batch dim"]]:
    """Return what `ltm_scan` returns, with one product for every CHUNK tokens.

    m_t = decay^(t+1) m_{-1} + (1 - decay) sum_{i <= t} decay^(t-i) x_i within a chunk, each term where it is of the
    document of t: where its age is at most position_t.
    """
    state, outputs = at_least_float32(carry), []
    if x.shape[1] == 0:
        return x, state
    for tokens, places in zip(torch.split(at_least_float32(x), CHUNK, 1), torch.split(position, CHUNK, 1), strict=True):
        index = torch.arange(tokens.shape[1], device=x.device)
        age = index.unsqueeze(1) - index
        sight = (age >= 0) & (age <= places.unsqueeze(-1))
        weights = torch.where(sight, (1.0 - decay) * torch.pow(decay, age.clamp(min=0).to(state.dtype)), 0.0)
        finite, bad = take_out_bad(tokens)
        within = spoil(weights @ finite, sees_bad(sight, bad, state.dtype).unsqueeze(-1))
        kept = torch.pow(decay, (index + 1).to(state.dtype)).unsqueeze(-1) * state.unsqueeze(1)
        outputs.append(within + torch.where((places > index).unsqueeze(-1), kept, 0.0))
        state = outputs[-1][:, -1]
    return torch.cat(outputs, 1).to(x.dtype), state
