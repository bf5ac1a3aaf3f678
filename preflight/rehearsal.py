"""Does a run begin to use what it writes? Its own beginning, rehearsed, says so before the rest is paid for.

What a fresh network says can hang on what lies out of sight by much or little (`heard`). Whether its answers come to
follow that is decided by how fast training makes the share grow, against the noise of its batches and within the steps
that it has: a plateau, of which nothing that is known beforehand tells the end. So the run is begun as it is, with its
own rows, span, rates and seed, and on rows that it has not seen is measured

    follows  B(x) - B(x'), x' the row x with all tokens out of sight of its questions taken from another row
    B        mean_i z_i[t_i] - mean_{i != j} z_i[t_j], z_i the log-probabilities at the scored place i, t_i its answer
    growth   follows(s) / follows(s / 2), s = SHARE n of the n steps, the latter within FLOOR and KNOWN (`growths`)

in nats, a mean over rows. A memory that keeps which values a row holds, and not what they belong to, says the same at
all places, so that B is 0: it is stuck one plateau later. What attention makes of the question itself is in B(x') too.
A plateau that a run will leave is unstable: what follows is a thousandth of a nat there, and grows all the same.

Batches differ by more than that. Where those of the budget leave it open whether the growth is large enough, the two
networks are asked by twice as many, and once more by twice as many: forward passes, which cost little beside training.
A rehearsal thus has CHANCES to be decided, and each of its intervals has that share of the doubt of one (Bonferroni),
so that all of them together are wrong as seldom as a single interval of another gate.

A run of more steps than twice those of the budget is not rehearsed: what is kept, heard and moved stands for it.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from atlas_ref.config import RunConfig
from atlas_ref.data.batch import Batch
from atlas_ref.models.family import Model
from atlas_ref.tasks.registry import task_of
from atlas_ref.training.clipping import NonFiniteError
from atlas_ref.training.run import select_device
from atlas_ref.training.step import to_device, train_step
from preflight.heard import Arms, arms, logits_of
from preflight.remedies import said_remedy
from preflight.result import Check, Verdict, at_least
from preflight.span import must_remember
from preflight.statistics import CONFIDENCE, mean_interval
from preflight.subject import Budget, Subject

FOLLOWS: Final = "answers begin to follow what is written"
"""The name of the check."""
SHARE: Final = 0.6
"""Of the steps of a run, that are rehearsed at most."""
GROWS: Final = 2.5
"""Times that what follows must grow in the second half of a rehearsal; a straight line from 0 grows twice."""
FLOOR, KNOWN = 1e-4, 0.05
"""Nats that noise is worth, and from which answers follow so well that they need not grow any more."""
LOOKS: Final = (0.5, 0.75, 1.0)
"""Shares of a rehearsal after which it is looked at: it ends where the check passes."""
LONGEST: Final = 2
"""Times the steps of a probe that a run may have to be rehearsed."""
DOUBLINGS: Final = 2
"""Times that the batches of the last look are doubled, as long as it is INCONCLUSIVE."""
CHANCES: Final = len(LOOKS) + DOUBLINGS
"""Times that a rehearsal may be decided."""


def rehearsed_steps(config: RunConfig, budget: Budget) -> int | None:
    """Return how many steps are rehearsed; None of a run that is too long for it, or asks for nothing out of sight."""
    steps = config.train.max_steps
    short = steps <= LONGEST * budget.probe_steps
    return math.ceil(SHARE * steps) if must_remember(config) is not None and short else None


def rehearsal_checks(config: RunConfig, subject: Subject, seed: int, budget: Budget) -> list[Check]:
    """Return the check of what the answers follow in the rehearsed part of the run; none where it is not rehearsed.

    Nor is it where no row asks for two things out of sight.
    """
    steps = rehearsed_steps(config, budget)
    check = None if steps is None else _rehearse(config, subject, seed, steps, budget.batches)
    return [] if check is None else [check]


def _rehearse(config: RunConfig, subject: Subject, seed: int, steps: int, batches: int) -> Check | None:
    """Begin the run as it will be, and judge it by `batches` of later rows, or more."""
    config = config.model_copy(update={"train": config.train.model_copy(update={"seed": seed})})
    source, device = task_of(config.data).source(config, None), select_device(config.train.device)
    judged = _later(config, range(steps, steps + batches))
    model = subject.model(config.model, seed).to(device)
    optimiser, state = subject.optimiser(model, config.optim), model.initial_state(config.train.batch_size).detach()
    before, found, middle, check = list[float](), list[float](), dict[str, Tensor](), None
    for step in range(steps if judged else 0):
        batch = to_device(source.batch(step), device)
        try:
            state = subject.hand_over(train_step(model, optimiser, batch, state, step, config).output.state)
        except NonFiniteError as error:
            return at_least(FOLLOWS, math.nan, GROWS, f"the rehearsal failed: {error}")
        if step + 1 in _looks(steps):
            found = [follows(model, each) for each in judged]
            if not before:
                before, middle = found, {name: each.clone() for name, each in model.state_dict().items()}
            check = _check(config, before, found, step + 1)
            if check.verdict is Verdict.PASS:
                return check
    if check is None or check.verdict is not Verdict.INCONCLUSIVE:
        return check
    earlier = subject.model(config.model, seed).to(device)
    earlier.load_state_dict(middle)
    for doubling in range(DOUBLINGS):
        known = batches << doubling
        judged = _later(config, range(steps + known, steps + 2 * known))
        before += [follows(earlier, each) for each in judged]
        found += [follows(model, each) for each in judged]
        check = _check(config, before, found, steps)
        if check.verdict is not Verdict.INCONCLUSIVE:
            break
    return check


def _later(config: RunConfig, steps: range) -> list[Arms]:
    """Return the rows of steps that are not rehearsed, of those batches that ask for two things out of sight."""
    source, device = task_of(config.data).source(config, None), select_device(config.train.device)
    found = (arms(config, to_device(source.batch(step), device)) for step in steps)
    return [asked for asked in found if asked is not None and _binds(asked)]


def _looks(steps: int) -> tuple[int, ...]:
    """Return the numbers of steps after which a rehearsal is looked at."""
    return tuple(math.ceil(share * steps) for share in LOOKS)


def _check(config: RunConfig, before: Sequence[float], found: Sequence[float], steps: int) -> Check:
    samples = growths(before, found)
    mean = float(np.mean(samples))
    sentence = (
        f"after {steps:,} of {config.train.max_steps:,} steps what is written makes its own answer likelier than the "
        f"others of the row by {np.mean(found):.2g} nats, {mean:.2f} times the {np.mean(before):.2g} in the middle of "
        f"the rehearsal, which count as {FLOOR} at least and {KNOWN} at most ({len(found)} batches)"
    )
    said = said_remedy(config, FOLLOWS, mean, GROWS)
    interval = mean_interval(samples, 1.0 - (1.0 - CONFIDENCE) / CHANCES)
    return at_least(FOLLOWS, mean, GROWS, sentence + said, interval)


def growths(before: Sequence[float], found: Sequence[float]) -> list[float]:
    """Return samples whose mean is the ratio of the means, r = y / x, by the same batches: g + (y_i - g x_i) / x.

    g is GROWS: their interval lies above it where that of y_i - g x_i lies above 0, which is the question (Fieller).
    With r in the place of g, as the spread of a ratio has it, a growth of 20 is doubted for ten times what the x_i
    differ by, though none of them could make it one of 2. Where x is not within FLOOR and KNOWN, the bound is in its
    place, which has no spread: y_i / bound.
    """
    then = float(np.mean(before))
    counted = min(max(then, FLOOR), KNOWN)
    shared = GROWS if counted == then else 0.0
    return [shared + (now - shared * was) / counted for was, now in zip(before, found, strict=True)]


def _binds(asked: Arms) -> bool:
    """Return whether a row asks for two things, so that one answer can be held against another."""
    return bool((asked.places.sum(1) > 1).any())


@torch.no_grad()
def follows(model: Model, asked: Arms) -> float:
    """Return B(x) - B(x') (module docstring)."""
    whole, other = (_bound(logits_of(model, each), each, asked.places) for each in (asked.whole, asked.other))
    return whole - other


def _bound(logits: Tensor, batch: Batch, places: Tensor) -> float:
    """Return B, the mean over rows that have two places or more."""
    shares = []
    for said, targets, asked in zip(logits, batch.targets, places, strict=True):
        answers = said[asked].double().log_softmax(-1)[:, targets[asked]]
        number = len(answers)
        if number > 1:
            own = answers.diagonal().sum()
            shares.append(own / number - (answers.sum() - own) / (number * (number - 1)))
    return float(torch.stack(shares).mean())
