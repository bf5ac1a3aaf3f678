"""What a step makes smaller: the loss of a task; of a model that answers several times, that of all its answers.

    supervised   sum_j w_j l_j / sum_j w_j over the answers, in one graph                (`functional.supervision`)
    halting      BCE of q_n against whether answer n is right, over the iterations up to the first that halts
    gain         what the model has to make larger besides, such as the entropy of a gate

What is reported as the loss is that of the last answer, so that runs of every family can be compared. The logits of
the other answers are made one after another, and again in the backward pass, so that four losses need the memory of
one; of a large vocabulary on a GPU those of no answer are ever all there (`functional.head_loss`). Where a row or token
explores, it is trained up to an iteration that is drawn from a stream of (seed, step).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from atlas_ref.config.cognate import HaltingConfig
from atlas_ref.data.batch import IGNORED, Batch
from atlas_ref.functional.head_loss import LARGE, head_loss
from atlas_ref.functional.supervision import first_halt, halt_loss, supervised_loss
from atlas_ref.models.answers import Answers, Recursive
from atlas_ref.models.family import Output
from atlas_ref.tasks.task import Task

EXPLORATION = 2
"""The stream of numbers that exploration draws from; 0 and 1 are those of training and validation data."""


class Learned(NamedTuple):
    """The loss that is reported, what is minimised, and the parts that this is the sum of, by name."""

    loss: Float[Tensor, ""]
    minimised: Float[Tensor, ""]
    parts: dict[str, Float[Tensor, ""]]


class Share(NamedTuple):
    """Which part of a batch is learned from: its rows among all, what is scored in all, and the numbers of the step.

    `least` is what `explored` makes of these rows, where it is drawn already.
    """

    rows: slice
    batch: int
    scored: Int[Tensor, ""]
    seed: int
    step: int
    least: Int[Tensor, "batch time"] | None = None


def learn(task: Task, output: Output, part: Batch, share: Share) -> Learned:
    """Return what a part of a batch gives to learn from (module docstring)."""
    if not isinstance(output, Recursive):
        loss = task.loss(output, part) / share.scored
        return Learned(loss, loss, {"supervised": loss})
    answers: Answers = output.recursion
    losses, right = judged(task, output, answers, part)
    # Filled, not copied from the host: a step that is recorded has no host.
    weights = torch.stack([losses.new_full((), weight) for weight in answers.weights])
    minimised = supervised_loss(losses[-len(weights) :], weights) / share.scored
    parts = {"supervised": minimised}
    if answers.gain is not None:
        gain = answers.gain * len(part.tokens) / share.batch
        minimised, parts["gate"] = minimised - gain, -gain
    if answers.halting is not None and answers.settings.loss_weight:
        found = halting_part(answers.halting, right[-len(answers.halting) :], part, share, answers.settings)
        parts["halting"] = answers.settings.loss_weight * found
        minimised = minimised + parts["halting"]
    return Learned(losses[-1] / share.scored, minimised, parts)


def judged(
    task: Task, output: Output, answers: Answers, part: Batch
) -> tuple[Float[Tensor, " answers"], Bool[Tensor, "answers batch time"]]:
    """Return the loss of each answer that anything is learned from, summed, and where it is right; the last is last."""
    needed = max(len(answers.weights), 0 if answers.halting is None else len(answers.halting))
    if answers.head.device.type == "cuda" and len(answers.head) >= LARGE and task.in_parts:
        return by_parts(answers.hidden[len(answers.hidden) - needed :], answers.head.to(output.logits.dtype), part)

    def judge(hidden: Tensor) -> tuple[Tensor, Tensor]:
        kind = output.logits.dtype
        logits = F.linear(hidden.to(kind), answers.head.to(kind))
        return task.loss(output._replace(logits=logits), part), said_right(logits, part)

    found = [
        checkpoint(judge, hidden, use_reentrant=False, preserve_rng_state=False)
        for hidden in answers.hidden[len(answers.hidden) - needed : -1]
    ]
    found.append((task.loss(output, part), said_right(output.logits, part)))
    losses, right = zip(*found, strict=True)
    return torch.stack(losses), torch.stack(right)


def by_parts(
    answers: Sequence[Float[Tensor, "batch time model"]], head: Float[Tensor, "vocab model"], part: Batch
) -> tuple[Float[Tensor, " answers"], Bool[Tensor, "answers batch time"]]:
    """Return what `judged` does of a large vocabulary, without logits of all tokens (`functional.head_loss`)."""
    targets = torch.where(part.targets == IGNORED, -1, part.targets).flatten()
    found = [head_loss(hidden.to(head.dtype).flatten(0, 1), head, targets) for hidden in answers]
    losses, right = zip(*found, strict=True)
    return torch.stack(losses), torch.stack(right).view(len(right), *part.targets.shape)


@torch.no_grad()
def said_right(logits: Float[Tensor, "batch time vocab"], part: Batch) -> Bool[Tensor, "batch time"]:
    """Return where the likeliest token, of all that the model has, is the target; nowhere that is not scored."""
    return logits.argmax(-1) == part.targets


def halting_part(
    logits: Float[Tensor, "steps batch time"],
    right: Bool[Tensor, "steps batch time"],
    part: Batch,
    share: Share,
    settings: HaltingConfig,
) -> Float[Tensor, ""]:
    """Return the loss of halting: the mean over scored tokens, or over the rows that have any.

    A row halts by the mean of the logits of its tokens, and is right where all that is scored is.
    """
    asked = part.targets != IGNORED
    among: Tensor | int = share.scored
    shape = (logits.shape[0], *part.tokens.shape)
    least = explored(settings, share, shape).to(logits.device) if share.least is None else share.least
    if settings.kind == "row":
        logits, right = logits.mean(-1), (right | ~asked).all(-1)
        asked, among, least = asked.any(-1), share.batch, least[:, 0]
    # Selected where it stands, as how much is asked is a number on the device: what is not asked may hold anything.
    each = torch.where(asked, logits, 0.0).movedim(0, -1).flatten(0, -2)
    steps = torch.maximum(first_halt(torch.sigmoid(each.detach()), settings.threshold), least.flatten())
    losses = halt_loss(each, right.movedim(0, -1).flatten(0, -2), steps)
    return torch.where(asked.flatten(), losses, 0.0).sum() / among


def explored(settings: HaltingConfig, share: Share, shape: tuple[int, int, int]) -> Int[Tensor, "batch time"]:
    """Return the least number of iterations of each token (of a row: of its first), 1 where nothing is explored.

    A share of them, `exploration`, gets one drawn from 2 .. iterations (2510.04871). Each row has its own numbers,
    so that it does not matter how a batch is cut.
    """
    iterations, _, time = shape
    random = np.random.Generator(np.random.Philox(key=share.seed, counter=[0, 0, share.step, EXPLORATION]))
    lucky = random.random((share.batch, time)) < settings.exploration
    drawn = random.integers(min(2, iterations), iterations, size=lucky.shape, endpoint=True)
    return torch.from_numpy(np.where(lucky, drawn, 1)[share.rows])
