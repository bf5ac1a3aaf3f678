"""The kernels of a call of one token of a memory, which is what decoding makes: what it brings, and the write and read.

    projected, logits -> features, window, gates (`kernels.token_front`) -> reads and M (`memory.kernels`)

What a memory has that they do not know goes the way of any call (`memory_branch`).
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from atlas_ref.blocks.kernels.choice import Token, kernel_token
from atlas_ref.blocks.kernels.token_given import Brought, GateForm
from atlas_ref.config.memory import MemoryConfig
from atlas_ref.memory.kernels.choice import Alone, Kernels, write_alone
from atlas_ref.memory.plan import SegmentPlan
from atlas_ref.memory.rules import MemoryRule
from atlas_ref.memory.state import MemoryState


class TokenKernels(NamedTuple):
    """What brings a token, what writes and reads it, and the form of its gates."""

    bring: Token
    write: Alone
    gates: GateForm

    def remembered(
        self, rule: MemoryRule, plan: SegmentPlan, brought: Brought, initial: Tensor, state: MemoryState
    ) -> tuple[Float[Tensor, "batch 1 heads values"], MemoryState]:
        """Return the reads and the memory after what was brought is written; documents start from `initial`."""
        from atlas_ref.memory.kernels.held import Held

        pairs = brought.keys, brought.values, brought.queries
        reads, held = self.write(rule, plan.position[:, 0], *pairs, brought.write, initial, Held.of(state))
        weights, momentum, anchor = held.carry()
        window = brought.keys[:, 1:], brought.values[:, 1:]
        return reads, MemoryState(weights, momentum, anchor, *window, plan.seen(state.position))


def token_kernels(
    kernels: Kernels, hidden: Tensor, config: MemoryConfig, rule: MemoryRule, features: int
) -> TokenKernels | None:
    """Return the kernels of a call with these hidden states, None where it is none of one token or they do not know it.

    They know no alignment of queries, no borders of shards, and what `GateForm` and `write_alone` name.
    """
    if torch.is_grad_enabled() or hidden.shape[1] != 1 or config.algorithm == "ridge":
        return None
    if config.qk_projection.kind != "none" or config.shards.length:
        return None
    bring = kernel_token(kernels, hidden, config.features.degree, config.features.basis)
    gates = None if bring is None else GateForm.of(config, rule)
    if bring is None or gates is None:
        return None
    write = write_alone(rule, features, config.value_dim, config.omega_window)
    return None if write is None else TokenKernels(bring, write, gates)
