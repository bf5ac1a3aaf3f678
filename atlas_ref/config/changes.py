"""What may change in the configuration of a run that goes on, and what would make it another run."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from atlas_ref.config.run import RunConfig
from atlas_ref.config.switches import KillSwitchesConfig
from atlas_ref.errors import UserError

MOVING = ("optim.schedule", "optim.decay_steps", "train.max_steps")
"""The fields of a schedule that a resumed run may change."""
CHANGEABLE = (
    "data.path",
    "data.curriculum.judged",
    *MOVING,
    "stage2.steps",
    "stage2.chunks",
    "stage2.rate",
    "stage2.trainable",
    "train.log_interval",
    "train.eval_interval",
    "train.patience",
    "train.save_interval",
    "train.sample_interval",
    "train.sample_prompt",
    "train.sample_tokens",
    "train.keep_last",
    "train.keep_best",
    "train.best",
    "train.micro_batches",
    "train.parallel",
    "train.device",
    "train.threads",
    "train.graph",
    "train.tensorboard",
    "train.wandb",
    *(f"kill_switches.{name}" for name in KillSwitchesConfig.model_fields),
)
"""The fields that a resumed run may change; any other change would make it a different run.

The data may have moved to another path: what they are is compared by their contents (`data.identity`).
"""


def refuse_changes(origin: Path, saved: RunConfig, wanted: RunConfig) -> None:
    """Raise UserError when `wanted` differs from the config saved in `origin` in a field that a run must keep."""
    old, new = dict(leaves(saved.model_dump())), dict(leaves(wanted.model_dump()))
    changed = [name for name in old if old[name] != new[name] and name not in CHANGEABLE]
    if changed:
        name, free = changed[0], [name for name in CHANGEABLE if not name.startswith("kill_switches.")]
        raise UserError(
            f"{origin}: a resumed run cannot change {name} from {old[name]!r} to {new[name]!r}; "
            f"it may change {', '.join(free)} and kill_switches."
        )


def refuse_other_border(origin: Path, saved: RunConfig, wanted: RunConfig, step: int) -> None:
    """Raise UserError when a run that has made `step` steps would be in another stage, or in another second one."""
    if step <= saved.train.max_steps:
        if step > wanted.train.max_steps:
            raise UserError(f"{origin}: is past train.max_steps, which is {wanted.train.max_steps}.")
        return
    old, new = dict(leaves(saved.model_dump())), dict(leaves(wanted.model_dump()))
    for name in ("train.max_steps", "stage2.chunks", "stage2.rate", "stage2.trainable"):
        if old[name] != new[name]:
            raise UserError(
                f"{origin}: has begun its second stage, in which {name} cannot change from {old[name]!r} to "
                f"{new[name]!r}."
            )
    if step > wanted.last_step:
        raise UserError(f"{origin}: is past the last step of the second stage, which is {wanted.last_step}.")


def leaves(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each field of a nested table under its dotted name."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
