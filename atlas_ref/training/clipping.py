"""The gradients of a step before its update: how large they are, what is refused, and clipping.

g <- min(1, max_norm / ||g||) g,    ||g||^2 = sum of g_p^2 over all parameters p that learn
"""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from atlas_ref.functional.largest import largest_entries
from atlas_ref.processes.distributed import World
from atlas_ref.processes.parallel import own_part, whole


class NonFiniteError(RuntimeError):
    """The loss or a gradient is NaN or infinite: the parameters were left as they were before the step.

    `metric` is `loss` or `grad_norm`; `subject` says what exactly is not finite.
    """

    def __init__(self, step: int, metric: str, subject: str, value: float) -> None:
        super().__init__(f"{subject} is {value if metric == 'loss' else 'not finite'} at step {step}")
        self.metric, self.subject, self.value = metric, subject, value


class Sizes(NamedTuple):
    """Of the gradients that a model has in this process: whose they are, by name, the largest entry of each, and the
    norm of all together."""

    held: dict[str, nn.Parameter]
    largest: Tensor
    norm: Tensor


def held_by(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters of a model that have a gradient, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.grad is not None}


def sizes_of_gradients(model: nn.Module) -> Sizes:
    """Return the sizes of the gradients that a model in one process has in its parameters."""
    held = held_by(model)
    gradients = [parameter.grad for parameter in held.values() if parameter.grad is not None]
    return Sizes(held, largest_entries(gradients), total_norm(model.parameters()))


def total_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Return the norm ||g|| of the gradients of all parameters that learn, of which one without a gradient has zeros.

    So the sum has as many terms, and rounds as it does, whether a gradient of zeros was made, was taken away, or never
    was: which of these depends on how a step is made.
    """
    learning = [x for x in parameters if x.requires_grad]
    return whole(nn.utils.get_total_norm([torch.zeros_like(x) if x.grad is None else x.grad for x in learning]))


def norm_of_gradients(held: Mapping[str, nn.Parameter], step: int, world: World, norm: Tensor) -> float:
    """Return the norm of the gradients of parameters by name, on the host; raise NonFiniteError where it is not finite,
    naming the first tensor that is not.
    """
    length = norm.item()
    if math.isfinite(length):
        return length
    bad = [name for name, p in held.items() if p.grad is not None and not torch.isfinite(own_part(p.grad)).all()]
    first = world.first(bad[0] if bad else None)
    where = f"the gradient of {first}" if first else "the gradient norm"
    raise NonFiniteError(step + 1, "grad_norm", where, math.nan)


def share_of(norm: float, max_norm: float) -> float:
    """Return the factor min(1, max_norm / norm) that clips gradients of a norm; torch's own adds 1e-6 to that."""
    return max_norm / norm if norm > max_norm else 1.0


def scale_gradients(parameters: Iterable[nn.Parameter], share: float) -> None:
    """Multiply the gradients of parameters by a share of at most one, in place."""
    if share < 1.0:
        torch._foreach_mul_([x.grad for x in parameters if x.grad is not None], share)


def clip_gradients(held: Mapping[str, nn.Parameter], max_norm: float, step: int, world: World) -> float:
    """Clip the gradients of parameters by name in place, over all of them together, and return their norm before it."""
    norm = norm_of_gradients(held, step, world, total_norm(held.values()))
    scale_gradients(held.values(), share_of(norm, max_norm))
    return norm
