"""The gate of the MAG block: how attention and memory are joined (Titans 2501.00663 Section 4.2; decision `join`).

    `source`:           y = g * norm(memory),                       g = floor + (1 - floor) sigmoid(norm(attention))
    `convex`:           y = g * norm(attention) + (1 - g) * norm(memory),  g = floor + (1 - floor) sigmoid(logits)
    `convex_memory`:    y = g * norm(memory) + (1 - g) * norm(attention),  g as in `convex`: a floor keeps the memory in
    `gated_attention`:  y = g * norm(attention),                    g = floor + (1 - floor) sigmoid(norm(memory))
    `product`:          y = norm(attention) * norm(memory): nothing is squashed, so there is no floor

The paper normalises both and writes a non-linearity without saying on which of them; the bare product is its symbol.

Deliberately different from the source systems: the floor is affine. max(gate, floor) has no gradient below the floor,
so a gate that has once closed can never open again.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from atlas_ref.functional.normalize import at_least_float32, of_dtype

GateKind = Literal["source", "convex", "convex_memory", "gated_attention", "product"]
WITH_LOGITS = ("convex", "convex_memory")
"""The gates that are learned of the token, by a linear map of their own."""


class Gated(NamedTuple):
    """The join, the gate that acted, floor included, and the sigmoid below it, which statistics are taken of.

    The gate of `product` is attention itself, and no sigmoid is below it.
    """

    joined: Float[Tensor, "*batch dim"]
    gate: Float[Tensor, "*batch dim"]
    raw: Float[Tensor, "*batch dim"] | None


def mag_gate(
    kind: GateKind,
    attention: Float[Tensor, "*batch dim"],
    memory: Float[Tensor, "*batch dim"],
    logits: Float[Tensor, "*batch dim"] | None,
    floor: float | Float[Tensor, "*batch 1"],
) -> Gated:
    """Return the join of normalised attention and memory (module docstring); `logits` are those that
    `convex` and `convex_memory` are made of, and `floor` is one for all or one for each token.

    Computed in at least float32; the joined values have the dtype of `attention`, both gates stay wide. Raises
    ValueError for these two without logits.
    """
    attended, remembered = at_least_float32(attention), at_least_float32(memory)
    if kind == "product":
        return Gated((attended * remembered).to(attention.dtype), attended, None)
    raw = torch.sigmoid(_below(kind, attended, remembered, logits))
    gate = raw if isinstance(floor, float) and floor == 0.0 else floor + (1.0 - floor) * raw
    if kind == "source":
        joined = gate * remembered
    elif kind == "gated_attention":
        joined = gate * attended
    elif kind == "convex_memory":
        joined = torch.lerp(attended, remembered, gate)
    else:
        joined = torch.lerp(remembered, attended, gate)
    return Gated(of_dtype(joined, attention.dtype), gate, raw)


def _below(kind: GateKind, attended: Tensor, remembered: Tensor, logits: Tensor | None) -> Tensor:
    """Return what the sigmoid of a gate is taken of."""
    if kind not in WITH_LOGITS:
        return attended if kind == "source" else remembered
    if logits is None:
        raise ValueError(f"the gate {kind} needs logits")
    return at_least_float32(logits)
