"""One training step: forward, next-token loss, backward, clipping, update; the state is handed on without its history.

Parameters, gradients, optimiser and memory state are fp32; `precision = "bf16"` only runs the forward pass under
autocast. No random number is drawn here, nor anywhere else in training after the parameters are made, so a run is
determined by its config and its step count alone.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from atlas_ref.blocks.polarisation import polarisation_weight
from atlas_ref.config import RunConfig
from atlas_ref.data.batch import IGNORED, Batch
from atlas_ref.models.atlas import AtlasModel, ModelOutput, ModelState
from atlas_ref.training.optimiser import OuterOptimiser, learning_rate


class NonFiniteError(RuntimeError):
    """The loss or a gradient is NaN or infinite: the parameters were left as they were before the step.

    `metric` is `loss` or `grad_norm`; `subject` says what exactly is not finite.
    """

    def __init__(self, step: int, metric: str, subject: str, value: float) -> None:
        super().__init__(f"{subject} is {value if metric == 'loss' else 'not finite'} at step {step}")
        self.metric, self.subject, self.value = metric, subject, value


class StepResult(NamedTuple):
    """What one update reports: the loss of its batch, the gradient norm before clipping and the new state."""

    loss: float
    grad_norm: float
    learning_rate: float
    output: ModelOutput


def token_losses(
    logits: Float[Tensor, "batch time vocab"], targets: Int[Tensor, "batch time"]
) -> tuple[Float[Tensor, ""], Int[Tensor, ""]]:
    """Return the summed cross-entropy in nats, -sum log softmax(logits)[target], and the number of counted targets.

    Targets of -100 do not count. The softmax is in fp32 or wider whatever the logits are.
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    total = cross_entropy(wide.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")
    return total, (targets != IGNORED).sum()


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Return the batch on `device`."""
    return Batch(*(tensor.to(device) for tensor in batch))


def forward(
    model: AtlasModel,
    batch: Batch,
    state: ModelState,
    precision: str,
    outer_step: int | None = None,
    penalised: bool = False,
) -> ModelOutput:
    """Run the model on a batch; `precision` is `fp32`, or `bf16` for autocast matrix products.

    `outer_step` is the number of updates made so far; None is the end of all schedules. `penalised` asks for the
    indecision of the gates.
    """
    with torch.autocast(batch.tokens.device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
        output: ModelOutput = model(batch.tokens, state, batch.reset, outer_step, penalised)
    return output


def train_step(
    model: AtlasModel, optimiser: OuterOptimiser, batch: Batch, state: ModelState, step: int, config: RunConfig
) -> StepResult:
    """Make update `step` (0-based) in place and return its numbers with the detached new state.

    The loss is the mean cross-entropy over the counted targets; where polarisation is on, what is minimised also has
    the indecision of the gates (`blocks.polarisation`). The gradient is scaled down to `max_norm` when longer.
    Raises NonFiniteError, before anything is changed, when the loss or a gradient is not finite.
    """
    optimiser.zero_grad()
    weight = polarisation(step, config)
    output = forward(model, batch, state, config.train.precision, step, penalised=weight > 0.0)
    total, count = token_losses(output.logits, batch.targets)
    loss = total / count.clamp(min=1)
    if not torch.isfinite(loss):
        raise NonFiniteError(step + 1, "loss", "the loss", loss.item())
    torch.autograd.backward(loss if output.indecision is None else loss + weight * output.indecision)
    grad_norm = _clip(model, config.optim.max_norm, step)
    rate = learning_rate(step, config)
    optimiser.step(rate / config.optim.learning_rate)
    return StepResult(
        loss=loss.item(),
        grad_norm=grad_norm,
        learning_rate=rate,
        output=output._replace(state=output.state.detach(), indecision=_detached(output.indecision)),
    )


def polarisation(step: int, config: RunConfig) -> float:
    """Return the weight of the gates' indecision in update `step` (0-based)."""
    optim = config.optim
    return polarisation_weight(step, config.train.max_steps, optim.polarisation_start, optim.polarisation_end)


def _detached(value: Tensor | None) -> Tensor | None:
    return None if value is None else value.detach()


def _clip(model: nn.Module, max_norm: float, step: int) -> float:
    """Clip the gradients in place and return their norm before it; name the first tensor that is not finite."""
    named = [(name, p) for name, p in model.named_parameters() if p.grad is not None]
    try:
        norm = nn.utils.clip_grad_norm_([p for _, p in named], max_norm, error_if_nonfinite=True)
    except RuntimeError as error:
        bad = [name for name, p in named if p.grad is not None and not torch.isfinite(p.grad).all()]
        where = f"the gradient of {bad[0]}" if bad else "the gradient norm"
        raise NonFiniteError(step + 1, "grad_norm", where, math.nan) from error
    return norm.item()
