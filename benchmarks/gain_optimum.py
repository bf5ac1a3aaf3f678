"""Where a gain ends: pulled by a regulariser and by weight decay without any task, and with real tasks.

The regulariser is one source system's, 0.1 mean(relu(gain - 1)), and exists here alone. Everything is in float32, so
that nothing freezes: what moves a gain, and what does not, is then a matter of its gradients.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Final

import torch
from torch import Tensor, nn

from atlas_ref.config import RunConfig, load_config
from atlas_ref.data.batch import Batch
from atlas_ref.data.streams import open_source
from atlas_ref.models.atlas import AtlasModel
from atlas_ref.tasks.language import token_losses
from atlas_ref.training.optimiser import is_decayed
from atlas_ref.training.schedule import learning_rate
from atlas_ref.training.step import forward
from preflight.recall import plan_probe
from preflight.subject import Budget
from spec_tests.preflight.micro import MICRO

START: Final = 5.0
PULL: Final = 0.1
"""Weight of the regulariser, and of the weight decay."""
LAST: Final = 20
"""Training losses that are averaged."""
TASKS: Final = ("recall", "text")
STEPS: Final = 300
FREE_STEPS: Final = (400, 4000)
FREE_RATE: Final = 1e-2
"""The source system's learning rate of its gain, a hundred times that of the rest."""


@dataclass(frozen=True)
class Arm:
    """A gain's start, and what pulls at it beside the task."""

    start: float
    regularised: bool
    decayed: bool


@dataclass(frozen=True)
class End:
    """Where the gains of a training ended (mean of all and their range), its mean loss and that of its last steps."""

    task: str
    arm: Arm
    seed: int
    gain: float
    least: float
    largest: float
    mean_loss: float
    last_loss: float


PULLS: Final = tuple(Arm(START, regularised, decayed) for regularised in (False, True) for decayed in (False, True))
STARTS: Final = tuple(Arm(start, regularised=False, decayed=False) for start in (0.5, 1.0, 2.0, 10.0, 20.0))


def pull(log_gains: Sequence[Tensor]) -> Tensor:
    """Return 0.1 mean(relu(gain - 1)) over all gains."""
    return PULL * torch.cat([x.flatten() for x in log_gains]).exp().sub(1.0).relu().mean()


def without_a_task(arm: Arm, steps: int) -> float:
    """Return where a gain goes when nothing depends on it."""
    log_gain = nn.Parameter(torch.full((1,), math.log(arm.start)))
    decay = PULL if arm.decayed else 0.0
    optimiser = torch.optim.AdamW([log_gain], lr=FREE_RATE, betas=(0.9, 0.95), weight_decay=decay)
    for _ in range(steps):
        optimiser.zero_grad(set_to_none=False)
        loss = pull([log_gain]) if arm.regularised else 0.0 * log_gain.sum()
        torch.autograd.backward(loss)
        optimiser.step()
    return log_gain.exp().item()


def prepared(task: str, gain: float, seed: int) -> tuple[RunConfig, Callable[[int], Batch]]:
    """Return a small model's configuration for a task, and its batches by step."""
    tanh = ("model.memory.qk_projection.kind='frobenius_tanh'", f"model.memory.qk_projection.gain={gain}")
    if task == "recall":
        config = load_config("tiny", [*MICRO, *tanh])
        probe = plan_probe(config, seed, Budget(probe_steps=STEPS, batches=1, sequence_length=64, batch_size=8))
        return probe.config, probe.batch
    small = ("model.d_model=64", "model.feed_forward_dim=128", "model.memory.value_dim=16", "model.memory.key_dim=16")
    # A fast gain: at the preset's learning rate it would go a third of the way in these steps.
    row = ("data.sequence_length=128", "train.batch_size=4", "optim.learning_rate=0.01", f"train.max_steps={STEPS}")
    config = load_config("tiny", [*small, *row, f"train.seed={seed}", "train.device='cpu'", *tanh])
    return config, open_source(config).batch


def trained(task: str, arm: Arm, seed: int) -> End:
    """Train a small model on a task, every batch from a fresh memory."""
    config, batch = prepared(task, arm.start, seed)
    model = AtlasModel(config.model, seed)
    gains = [p for name, p in model.named_parameters() if name.endswith("log_gain")]
    optimiser = _optimiser(model, config, arm)
    losses = []
    for step in range(STEPS):
        optimiser.zero_grad()
        rows = batch(step)
        output = forward(model, rows, model.initial_state(len(rows.tokens)), "fp32", step)
        total, count = token_losses(output.logits, rows.targets)
        loss = total / count
        torch.autograd.backward(loss + pull(gains) if arm.regularised else loss)
        nn.utils.clip_grad_norm_(model.parameters(), config.optim.max_norm)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, config)
        optimiser.step()
        losses.append(loss.item())
    found = torch.cat([p.detach().flatten() for p in gains]).exp()
    return End(
        task, arm, seed, found.mean().item(), found.min().item(), found.max().item(), mean(losses), mean(losses[-LAST:])
    )


def _optimiser(model: AtlasModel, config: RunConfig, arm: Arm) -> torch.optim.AdamW:
    """Return AdamW with the groups of a run, and the decay of the arm on its gains."""
    decays = {
        name: config.optim.weight_decay if is_decayed(name, p) else 0.0 for name, p in model.named_parameters()
    } | {name: PULL for name, _ in model.named_parameters() if name.endswith("log_gain") and arm.decayed}
    groups = [{"params": [p], "weight_decay": decays[name]} for name, p in model.named_parameters()]
    return torch.optim.AdamW(groups, betas=(config.optim.beta1, config.optim.beta2), eps=config.optim.eps)


def free_table() -> list[dict[str, object]]:
    """Return where the gain goes without a task, for each combination of pulls."""
    return [
        {
            "regularised": arm.regularised,
            "decayed": arm.decayed,
            **{f"after {steps}": without_a_task(arm, steps) for steps in FREE_STEPS},
        }
        for arm in PULLS
    ]
