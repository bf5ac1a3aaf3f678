"""A long-term memory that is a running mean of its inputs: the state of the source system that joins TRM and MAG.

It is not a Titans memory: there is no key, no value, no gradient and no inner loss. It is specified because ports of
that system have it, and because its source detached every step, so that nothing before it could learn.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from atlas_ref.functional.normalize import at_least_float32


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
