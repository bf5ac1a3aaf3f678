"""The gate of the MAG block: how attention and memory are joined (Titans 2501.00663 Section 4.2; decision `join`).

    `source`:  y = g * norm(memory),                            g = floor + (1 - floor) sigmoid(norm(attention))
    `convex`:  y = g * norm(attention) + (1 - g) * norm(memory), g = floor + (1 - floor) sigmoid(logits)

Deliberately different from the source systems: the floor is affine. max(gate, floor) has no gradient below the floor,
so a gate that has once closed can never open again.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from atlas_ref.functional.normalize import at_least_float32

GateKind = Literal["source", "convex"]


class Gated(NamedTuple):
    """The join, the gate that acted, floor included, and the sigmoid below it, which statistics are taken of."""

    joined: Float[Tensor, "*batch dim"]
    gate: Float[Tensor, "*batch dim"]
    raw: Float[Tensor, "*batch dim"]


def mag_gate(
    attention: Float[Tensor, "*batch dim"],
    memory: Float[Tensor, "*batch dim"],
    logits: Float[Tensor, "*batch dim"] | None,
    floor: float,
) -> Gated:
    """Return the join of normalised attention and memory; `logits` None is the source's gate (module docstring).

    Computed in at least float32; the joined values have the dtype of `attention`, both gates stay wide.
    """
    wide, remembered = at_least_float32(attention), at_least_float32(memory)
    raw = torch.sigmoid(wide if logits is None else at_least_float32(logits))
    gate = floor + (1.0 - floor) * raw
    joined = gate * remembered if logits is None else gate * wide + (1.0 - gate) * remembered
    return Gated(joined.to(attention.dtype), gate, raw)
