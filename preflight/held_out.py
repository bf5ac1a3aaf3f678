"""Held out: the gate of a model that is to generalise from a share of all questions to the others.

What it says of the others is worth nothing where they are not really held out, so real batches are asked first:

    disjoint    no pair of the batches of a whole round is one that is validated on
    answers     every answer is that of a pair that is trained on, so that each could be known
    chance      fresh models answer what is validated on no better than guessing, in the judgement that a run uses

The model itself is asked what `preflight.proof_of_recursion` asks: causality, rows, splits, gradients, learning.
"""

import time
from collections.abc import Iterator
from statistics import mean

import torch

from atlas_ref.config import RunConfig
from atlas_ref.data.arithmetic import ArithmeticPairs
from atlas_ref.data.batch import IGNORED, Batch, KnownSource
from atlas_ref.tasks.registry import task_of
from atlas_ref.training.evaluate import evaluate
from atlas_ref.training.run import select_device
from preflight.observe import measured_config, real_batches
from preflight.proof_of_recursion import LEARNING_STEPS, gradient_check, learning_check, sight_checks
from preflight.result import Check, GateResult, at_most, conclude
from preflight.subject import Budget, Subject

GATE = "held-out"
FRESH = 3
"""Fresh models whose accuracy is taken, of which the mean counts."""
LUCK = 3.0
"""Times the share of a guess that they may reach together."""

Question = tuple[tuple[int, ...], int]
"""The tokens of a row, and its answer."""


def held_out(config: RunConfig, subject: Subject, seed: int, budget: Budget) -> GateResult:
    """Examine the data of a run and a fresh model of `subject` (module docstring)."""
    started = time.perf_counter()
    small = measured_config(config, seed, budget)
    device = select_device(config.train.device)
    model = subject.model(config.any_model, seed).to(device).double()
    batches = real_batches(small, min(budget.batches, 2), device)
    source = ArithmeticPairs(config.data, config.train)
    checks = [
        *data_checks(source, config),
        chance_check(source, config, subject, seed, device),
        *sight_checks(model, batches[0], subject),
        gradient_check(small, model, batches),
        learning_check(small, subject, seed, batches[0], min(budget.probe_steps, LEARNING_STEPS)),
    ]
    return conclude(GATE, checks, {}, time.perf_counter() - started)


def data_checks(source: KnownSource, config: RunConfig) -> list[Check]:
    """Check that what is validated on is not trained on, and that every answer is."""
    trained, rows = set[Question](), config.train.batch_size
    for step in range(-(-config.data.arithmetic.trained // rows)):
        trained.update(questions(source.batch(step)))
    validated = {each for index in range(source.validation_batches) for each in questions(source.validation(index))}
    shared = {tokens for tokens, _ in trained} & {tokens for tokens, _ in validated}
    answers = {answer for _, answer in trained}
    missing = source.numbers - len(answers)
    return [
        at_most(
            "disjoint",
            len(shared),
            0,
            f"{len(shared):,} of the {len(validated):,} pairs that are validated on are trained on too",
        ),
        at_most("answers", missing, 0, f"{missing} of {source.numbers} answers are that of no pair that is trained on"),
    ]


def questions(batch: Batch) -> Iterator[Question]:
    """Yield the rows of a batch that are scored."""
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        if targets[-1] != IGNORED:
            yield tuple(tokens), targets[-1]


def chance_check(source: KnownSource, config: RunConfig, subject: Subject, seed: int, device: torch.device) -> Check:
    """Check that models that saw no answer know none."""
    task, batches = task_of(config.data), source.validation_batches
    right = mean(
        evaluate(subject.model(config.any_model, seed + n).to(device), task, source, batches, "fp32")["accuracy"]
        for n in range(FRESH)
    )
    guess = 1.0 / source.numbers
    return at_most(
        "chance",
        right,
        LUCK * guess,
        f"fresh models are right once in {1 / max(right, 1e-9):,.0f} times, a guess is once in {source.numbers}",
    )
