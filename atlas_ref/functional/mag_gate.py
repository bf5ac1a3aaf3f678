"""The gate of the MAG block: how attention and memory are joined (Titans 2501.00663 Section 4.2; decision 17).

    `source`:  y = g * norm(memory),                            g = floor + (1 - floor) sigmoid(norm(attention))
    `convex`:  y = g * norm(attention) + (1 - g) * norm(memory), g = floor + (1 - floor) sigmoid(logits)

Deliberately different from the source systems: the floor is affine. max(gate, floor) has no gradient below the floor,
so a gate that has once closed can never open again.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from atlas_ref.functional.normalize import at_least_float32

GateKind = Literal["source", "convex"]
Joined = tuple[Float[Tensor, "*batch dim"], Float[Tensor, "*batch dim"]]


def mag_gate(
    attention: Float[Tensor, "*batch dim"],
    memory: Float[Tensor, "*batch dim"],
    logits: Float[Tensor, "*batch dim"] | None,
    floor: float,
) -> Joined:
    """Return (joined, gate) of normalised attention and memory; `logits` None is the source's gate (module docstring).

    Computed in at least float32; the joined values have the dtype of `attention`, the gate stays wide.
    """
    wide, remembered = at_least_float32(attention), at_least_float32(memory)
    raw = wide if logits is None else at_least_float32(logits)
    gate = floor + (1.0 - floor) * torch.sigmoid(raw)
    joined = gate * remembered if logits is None else gate * wide + (1.0 - gate) * remembered
    return joined.to(attention.dtype), gate
