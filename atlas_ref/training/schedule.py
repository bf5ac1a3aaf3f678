"""The learning rate of a step as a pure function of its number, and what a change of plan does to it.

    s    the update, 0-based             lr      optim.learning_rate, the peak
    w    optim.warmup_steps              lr_min  optim.min_learning_rate
    N    train.max_steps                 d       optim.decay_steps

Every schedule begins with the same linear warm-up, lr(s) = lr (s + 1) / w for s < w, and goes on by its own equation.
`cosine` depends on N from the end of the warm-up on: a run that is made longer is another run from there. `constant`
never does, and `wsd` not before its decay begins, so a run of theirs that is made longer before that equals, bit for
bit, one that was as long from the start.
"""

import math
from collections.abc import Callable, Iterator

from atlas_ref.blocks.polarisation import polarisation_weight
from atlas_ref.config import RunConfig
from atlas_ref.config.changes import MOVING


def learning_rate(step: int, config: RunConfig) -> float:
    """Return AdamW's learning rate at update `step` (0-based); Muon's is in the same proportion to its own peak."""
    if step < config.optim.warmup_steps:
        return config.optim.learning_rate * (step + 1) / config.optim.warmup_steps
    if config.stage2.steps and step >= config.train.max_steps:
        return config.stage2.rate * config.optim.learning_rate
    return SCHEDULES[config.optim.schedule](step, config)


def cosine(step: int, config: RunConfig) -> float:
    """Return lr_min + (lr - lr_min)(1 + cos(pi (s - w) / (N - w))) / 2 for w <= s < N, and lr_min from N on.

    Loshchilov and Hutter, arXiv 1608.03983, Eq. 5, without restarts.
    """
    peak, lowest, warmup = config.optim.learning_rate, config.optim.min_learning_rate, config.optim.warmup_steps
    progress = min(1.0, (step - warmup) / max(1, config.train.max_steps - warmup))
    return lowest + 0.5 * (peak - lowest) * (1.0 + math.cos(math.pi * progress))


def constant(step: int, config: RunConfig) -> float:
    """Return lr for every s >= w, also beyond N."""
    del step
    return config.optim.learning_rate


def warmup_stable_decay(step: int, config: RunConfig) -> float:
    """Return lr for w <= s < D, lr_min + (lr - lr_min)(N - s) / (N - D) for D <= s < N, and lr_min from N on.

    D = max(w, N - d): a run too short for both decays from the end of its warm-up. Hu et al., arXiv 2404.06395, with
    the straight line of Hägele et al., arXiv 2405.18392.
    """
    peak, lowest, last = config.optim.learning_rate, config.optim.min_learning_rate, config.train.max_steps
    begin = decay_begin(config)
    if step < begin:
        return peak
    return lowest + (peak - lowest) * max(0, last - step) / max(1, last - begin)


SCHEDULES: dict[str, Callable[[int, RunConfig], float]] = {
    "cosine": cosine,
    "constant": constant,
    "wsd": warmup_stable_decay,
}


def decay_begin(config: RunConfig) -> int:
    """Return D, the first update of the decay of `wsd`."""
    return max(config.optim.warmup_steps, config.train.max_steps - config.optim.decay_steps)


def polarisation(step: int, config: RunConfig) -> float:
    """Return the weight of the gates' indecision in update `step` (0-based), which depends on N too."""
    optim = config.optim
    return polarisation_weight(step, config.train.max_steps, optim.polarisation_start, optim.polarisation_end)


def change_of_plan(step: int, old: RunConfig, new: RunConfig) -> str | None:
    """Return one line on what a change of a schedule does to update `step` (0-based) and after it; None without one.

    It has the rate of that update by the old plan, by the new one, and the course of the new one from there.
    """
    changes = [f"{name} changes from {before} to {after}" for name, before, after in _changes(old, new)]
    if not changes:
        return None
    rates = _from_to("learning rate", learning_rate(step, old), learning_rate(step, new))
    weights = polarisation(step, old), polarisation(step, new)
    more = [_from_to("weight of polarisation", *weights)] if max(weights) > 0.0 else []
    return (
        f"{', '.join(changes)}: step {step + 1} has {', '.join([rates, *more])}; "
        f"from there the learning rate {course(step, new)}"
    )


def course(step: int, config: RunConfig) -> str:
    """Return in words what the learning rate does from update `step` (0-based) on."""
    optim, last = config.optim, config.train.max_steps
    falls = f"down towards {optim.min_learning_rate:.4g} at step {last}"
    later = {
        "cosine": f"follows a cosine {falls}",
        "constant": "is constant",
        "wsd": f"follows a straight line {falls}",
    }[optim.schedule]
    if optim.schedule == "wsd" and step < decay_begin(config):
        later = f"is constant to step {decay_begin(config)} and then {later}"
    if step < optim.warmup_steps:
        return f"rises to {optim.learning_rate:.4g} at step {optim.warmup_steps} and then {later}"
    return later


def _changes(old: RunConfig, new: RunConfig) -> Iterator[tuple[str, object, object]]:
    """Yield the name, the old and the new value of each field of MOVING that differs."""
    for name in MOVING:
        section, field = name.split(".")
        before, after = (getattr(getattr(config, section), field) for config in (old, new))
        if before != after:
            yield name, before, after


def _from_to(what: str, before: float, after: float) -> str:
    """Return both values of a quantity, or that it stays."""
    if before == after:
        return f"the {what} {after:.4g} as before"
    return f"the {what} {after:.4g} where it would have had {before:.4g}"
