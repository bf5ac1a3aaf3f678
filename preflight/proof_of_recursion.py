"""Proof of recursion: the gate of a model without a memory that is written at test time.

A fresh model is asked, in float64 on real batches of the configured data, for what every later number stands on:

    causality   other tokens in the place of the last ones move no logit before them
    rows        a row alone has the logits that it has among others
    splits      two calls with the state handed on have the logits of one
    gradients   what a step makes smaller reaches every parameter: answers, halting, backbone, running mean
    learning    a few steps on one batch lower what they make smaller

The first three are measured beside the change that the same tokens make where they may: a model that does not listen
to them at all passes nothing.
"""

import time

import torch
from torch import Tensor

from atlas_ref.config import RunConfig
from atlas_ref.data.batch import Batch
from atlas_ref.models.family import Model
from atlas_ref.tasks.registry import task_of
from atlas_ref.training.run import select_device
from atlas_ref.training.supervision import Share, learn
from preflight.observe import measured_config, real_batches
from preflight.result import Check, GateResult, at_least, at_most, conclude, powered
from preflight.subject import Budget, Subject

GATE = "proof-of-recursion"
TOLERANCE = 1e-9
"""Largest change of a float64 logit that may be rounding."""
HEARD = 1e-6
"""Least change where a change may be: below it the question was none."""
LEARNING_STEPS = 8
"""Most steps of the probe of learning."""
LOWER = 0.99
"""Largest loss after them, as a share of that before."""


def proof_of_recursion(config: RunConfig, subject: Subject, seed: int, budget: Budget) -> GateResult:
    """Examine a fresh model of `subject` on real batches (module docstring)."""
    started = time.perf_counter()
    config = measured_config(config, seed, budget)
    device = select_device(config.train.device)
    model = subject.model(config.any_model, seed).to(device).double()
    batches = real_batches(config, min(budget.batches, 2), device)
    checks = [
        *sight_checks(model, batches[0], subject),
        gradient_check(config, model, batches),
        learning_check(config, subject, seed, batches[0], min(budget.probe_steps, LEARNING_STEPS)),
    ]
    return conclude(GATE, checks, {}, time.perf_counter() - started)


@torch.no_grad()
def sight_checks(model: Model, batch: Batch, subject: Subject) -> list[Check]:
    """Check causality, rows and splits."""
    tokens, reset = batch.tokens, batch.reset
    cut = tokens.shape[1] // 2
    whole = _logits(model, tokens, reset)
    changed = tokens.clone()
    # The first ones of another row: the last ones may be alike in all rows, as blanks are in which a task is answered.
    changed[:, cut:] = tokens[:, : tokens.shape[1] - cut].roll(1, 0)
    moved = (_logits(model, changed, reset) - whole).abs().amax((0, 2))
    alone = (_logits(model, tokens[:1], reset[:1]) - whole[:1]).abs().max()
    first = model(tokens[:, :cut], model.initial_state(len(tokens)), reset[:, :cut], measured=False)
    second = model(tokens[:, cut:], subject.hand_over(first.state), reset[:, cut:], measured=False)
    parts = (torch.cat([first.logits, second.logits], 1) - whole).abs().max()
    heard = float(moved[cut:].max())
    return [
        powered(
            "later tokens are heard", heard, HEARD, f"other tokens from place {cut} on move a logit by {heard:.2g}"
        ),
        at_most(
            "causality",
            float(moved[:cut].max()),
            TOLERANCE,
            f"they move the logits before them by at most {float(moved[:cut].max()):.2g}",
        ),
        at_most("rows", float(alone), TOLERANCE, f"a row alone has logits that differ by at most {float(alone):.2g}"),
        at_most("splits", float(parts), TOLERANCE, f"two calls have logits that differ by at most {float(parts):.2g}"),
    ]


def _logits(model: Model, tokens: Tensor, reset: Tensor) -> Tensor:
    logits: Tensor = model(tokens, model.initial_state(len(tokens)), reset, measured=False).logits
    return logits


def _minimised(config: RunConfig, model: Model, batch: Batch) -> Tensor:
    """Return what the first step on a batch makes smaller."""
    task, rows = task_of(config.data), len(batch.tokens)
    output = model(batch.tokens, model.initial_state(rows), batch.reset, measured=False)
    share = Share(slice(0, rows), rows, task.count(batch).clamp(min=1), config.train.seed, 0)
    return learn(task, output, batch, share).minimised


def gradient_check(config: RunConfig, model: Model, batches: list[Batch]) -> Check:
    """Check that every parameter gets a finite gradient that is not zero, on one batch or another."""
    reached: set[str] = set()
    for batch in batches:
        model.zero_grad(set_to_none=True)
        torch.autograd.backward(_minimised(config, model, batch))
        found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        reached |= {name for name, grad in found.items() if bool(torch.isfinite(grad).all() and grad.any())}
    missing = sorted({name for name, _ in model.named_parameters()} - reached)
    return at_most(
        "gradients reach what is trained",
        len(missing),
        0,
        f"{len(missing)} of {len(list(model.parameters()))} parameters got no gradient{': ' if missing else ''}"
        + ", ".join(missing[:3]),
    )


def learning_check(config: RunConfig, subject: Subject, seed: int, batch: Batch, steps: int) -> Check:
    """Check that a few steps on one batch lower what they make smaller."""
    model = subject.model(config.any_model, seed).to(batch.tokens.device)
    optimiser = subject.optimiser(model, config.optim)
    with torch.no_grad():
        before = float(_minimised(config, model, batch))
    for _ in range(steps):
        optimiser.zero_grad()
        torch.autograd.backward(_minimised(config, model, batch))
        optimiser.step(1.0)
    with torch.no_grad():
        after = float(_minimised(config, model, batch))
    return at_least(
        "learning",
        before - after,
        (1.0 - LOWER) * abs(before),
        f"{steps} steps on one batch take what they make smaller from {before:.4g} to {after:.4g}",
    )
