"""Polarisation of the gates: a loss that pushes each of them to open or to shut, and its weight over a run.

    loss = cross-entropy + lambda(s) mean(1 - |2 g - 1|),        lambda(s) = start (end / start)^(s / (N - 1))

with g the gate before its floor, the mean over all layers, rows, tokens and features, s = 0 .. N - 1 the step.

The penalty is largest, 1, at g = 1/2, and there its gradient is exactly zero: the subgradient of |x| at 0. A gate that
stands at 1/2, where every gate of a fresh `convex` block does, is not moved by it at all. Everywhere else the slope is
-2 or +2 towards the pole that is nearer, whatever the language model loss would have chosen later. The source system
that this is from called it a failed experiment and removed it; here it is an option that is off in every preset.
"""

from jaxtyping import Float
from torch import Tensor


def indecision(raw_gates: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Return mean(1 - |2 g - 1|): 0 when every gate is open or shut, 1 when all are half open."""
    return (1.0 - (2.0 * raw_gates - 1.0).abs()).mean()


def polarisation_weight(step: int, steps: int, start: float, end: float) -> float:
    """Return lambda at `step` (0-based) of `steps`: from `start` to `end` in equal ratios, then `end`; 0.0 is off.

    Either both ends are positive or both are zero.
    """
    if start == 0.0:
        return 0.0
    progress = min(1.0, step / (steps - 1)) if steps > 1 else 0.0
    # The geometric mean, not start (end / start)^progress, so that both ends are exact.
    weight: float = start ** (1.0 - progress) * end**progress
    return weight
