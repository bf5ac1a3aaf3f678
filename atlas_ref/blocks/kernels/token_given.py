"""What the kernel of one token of a memory is given and gives, which is there without Triton too (`token_front`)."""

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor

from atlas_ref.config.memory import MemoryConfig
from atlas_ref.memory.rules import STEP_IN_MOMENTUM, MemoryRule, WriteCoefficients


class Before(NamedTuple):
    """What a row has before the token: the tail of its convolution, the pairs of its window, and how many tokens its
    context and its document have."""

    tail: Float[Tensor, "batch past channels"]
    keys: Float[Tensor, "batch window heads features"]
    values: Float[Tensor, "batch window heads values"]
    context: Int[Tensor, "batch 1"]
    position: Int[Tensor, "batch 1"]


class Brought(NamedTuple):
    """Features of the query, pairs behind their window, the next tail, and what the write consumes."""

    queries: Float[Tensor, "batch 1 heads features"]
    keys: Float[Tensor, "batch pairs heads features"]
    values: Float[Tensor, "batch pairs heads values"]
    tail: Float[Tensor, "batch past channels"]
    write: WriteCoefficients


class GateForm(NamedTuple):
    """The numbers of `blocks.gates` and of `memory.rules.write_coefficients`, which a kernel makes one of."""

    places: tuple[int, ...]
    """rows of the logits of retention, momentum, step and the first age of the window; -1: fixed"""
    window: int
    momentum_most: float
    step_most: float
    divisor: float
    """what the step is divided by"""
    share: float
    """what the weights of the window are multiplied by"""
    averages: bool
    """whether a gradient enters the momentum with what that forgets"""
    step_in_momentum: bool

    @classmethod
    def of(cls, config: MemoryConfig, rule: MemoryRule) -> "GateForm | None":
        """Return those of a memory; None where gates are made of more than sigmoids, or of rows or columns."""
        parts, kinds = config.generated_gates(), config.gates
        if not parts or "threshold" in parts or rule.gate_axis != "head" or rule.update_every != 1:
            return None
        if kinds.retention_kind not in ("learned", "one"):
            return None
        places, row = dict[str, int](), 0
        for name, count in parts.items():
            places[name] = row
            row += count
        mass, delta = rule.step_scale == "mass", rule.name == "delta"
        horizon = 0.0 if delta else rule.momentum_max / (1.0 - rule.momentum_max)
        return cls(
            places=tuple(places.get(name, -1) for name in ("retention", "momentum", "step", "window")),
            window=config.omega_window,
            momentum_most=0.0 if delta else kinds.momentum_max,
            step_most=kinds.step_max if "step" in places else 1.0,
            divisor=(rule.step_chunk or rule.chunk) + horizon if mass else 1.0,
            share=2.0 * rule.loss_scale / (config.omega_window if mass else 1),
            averages=mass,
            step_in_momentum=STEP_IN_MOMENTUM[rule.name],
        )
