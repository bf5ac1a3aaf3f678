"""How much of what was written is left where it is asked for, and whether the network hears it there.

A task says how far back its answers lie (`Task.span`), nearest and farthest. Where the nearest lies beyond what the
layers see without memory, the memory alone can bring it, and three numbers of a run can be known before it:

    kept     2^(-n / half-life), n tokens to the nearest answer, of the head that half of the heads reach
    echo     rms(f(x) - f(x')) / rms(f(x)), f the logits of a fresh model where answers are scored, each less its mean
             over the vocabulary, and x' the row x with all tokens out of sight there taken from another row
    travel   sum of the learning rates of all steps / model.init_std: how far a weight can go, in its own spread
    push     travel * echo / least echo: how far weights can go, times how well what they must follow is heard

What is kept bounds the echo, which also has the size of writes, chunk, momentum and gate in it: a start from which too
little is heard is a plateau that a run does not leave, however well its memory could hold what it would be taught.
Of a text nothing is known to lie out of sight, so that kept and echo are evidence there and decide nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from atlas_ref.config import RunConfig
from atlas_ref.data.batch import IGNORED, Batch
from atlas_ref.models.family import Model
from atlas_ref.training.step import forward
from preflight.remedies import said_remedy
from preflight.result import Check, at_least
from preflight.span import kept_over, must_remember
from preflight.statistics import mean_interval
from preflight.travel import travel

LASTS, HEARD, TRAVELS = "memory lasts to the answers", "writes are heard", "weights can move far enough"
"""The names of the checks."""
LEAST_KEPT = 0.2
"""Share of a write that must be left at the nearest answer."""
LEAST_ECHO = 0.05
"""Share of the logits that must hang on what was written out of sight."""
LEAST_ECHO_OF_BLOCK: Final[Mapping[str, float]] = {"mal": 0.1, "mac": 0.2}
"""The same where attention comes behind: it has yet to learn to let through, or to look for, what a memory brings."""
LEAST_ECHO_PROJECTED = 0.2
"""The same where queries are projected onto past keys: they find only what those span."""
LEAST_TRAVEL = 2.0
"""Spreads of the initial weights that the learning rates of a run add up to, where nothing is out of sight."""
LEAST_PUSH = 3.4
"""The same where answers are out of sight and the echo is just large enough; of a larger one as much less is asked."""

FEW = 4
"""Batches of a text whose echo is told."""


class Question(NamedTuple):
    """Where rows are cut: tokens before `cut` are exchanged, and `places` beyond sight of them are listened to."""

    cut: int
    places: Tensor


class Arms(NamedTuple):
    """Rows as they are, the same with all tokens out of sight of `places` taken from another row, and those places."""

    whole: Batch
    other: Batch
    places: Tensor


def kept_checks(config: RunConfig, half_lives: Sequence[float]) -> list[Check]:
    """Check that the heads keep enough over the span; none where attention may see the answers."""
    tokens = must_remember(config)
    if tokens is None:
        return []
    kept = [kept_over(config, half_life, tokens) for half_life in half_lives]
    mean = float(np.mean(kept))
    sentence = (
        f"half of the heads keep {mean:.3f} of what was written {tokens:,} tokens ago, where the nearest answer lies"
    )
    said = said_remedy(config, LASTS, mean, LEAST_KEPT)
    return [at_least(LASTS, mean, LEAST_KEPT, sentence + said, mean_interval(kept))]


def echo_checks(config: RunConfig, model: Model, batches: Sequence[Batch]) -> tuple[list[Check], float | None]:
    """Check that the fresh model hears what was written out of sight; return the echo too, where rows have one.

    Where it decides nothing, a few batches are enough.
    """
    listened = batches if must_remember(config) is not None else batches[:FEW]
    samples = [found for batch in listened if (found := echo(config, model, batch)) is not None]
    if not samples:
        return [], None
    mean = float(np.mean(samples))
    if must_remember(config) is None:
        return [], mean
    sentence = f"{mean:.3f} of what a fresh model says hangs on what was written out of sight"
    least = least_echo(config)
    said = said_remedy(config, HEARD, mean, least)
    return [at_least(HEARD, mean, least, sentence + said, mean_interval(samples))], mean


def least_echo(config: RunConfig) -> float:
    """Return the share of the logits that must hang on what was written out of sight."""
    least = LEAST_ECHO_OF_BLOCK.get(config.model.block, LEAST_ECHO)
    return least if config.model.memory.qk_projection.kind == "none" else max(least, LEAST_ECHO_PROJECTED)


def least_travel(config: RunConfig, echo: float | None) -> float:
    """Return the spreads of a weight that the learning rates must add up to, by the echo of a fresh model.

    An echo that is too small fails by itself, and does not ask for a learning rate that makes up for it.
    """
    if must_remember(config) is None or echo is None:
        return LEAST_TRAVEL
    least = least_echo(config)
    return LEAST_PUSH * least / max(least, echo)


@torch.no_grad()
def echo(config: RunConfig, model: Model, batch: Batch) -> float | None:
    """Return the share of the logits that hangs on what lies out of sight, None where rows are too short for it."""
    found = arms(config, batch)
    if found is None:
        return None
    said, otherwise = (_said(model, each, found.places) for each in (found.whole, found.other))
    return float((said - otherwise).square().mean().sqrt() / said.square().mean().sqrt().clamp(min=1e-30))


def arms(config: RunConfig, batch: Batch) -> Arms | None:
    """Return the rows of a batch with and without what lies out of sight; None where they are too short for it."""
    question = _question(config, batch)
    if question is None or not bool(question.places.any()):
        return None
    whole = batch._replace(reset=_one_document(batch)) if batch.episode is None else batch
    tokens = whole.tokens.clone()
    tokens[:, : question.cut] = tokens[:, : question.cut].roll(1, 0)
    return Arms(whole, whole._replace(tokens=tokens), question.places)


def _question(config: RunConfig, batch: Batch) -> Question | None:
    """Return where to cut the rows of a batch."""
    length, reach = batch.tokens.shape[1], config.model.reach
    if batch.episode is not None:
        # A batch that holds part of an episode has storage and questions apart.
        return Question(length // 2, batch.episode.answer > 0) if length == config.data.episodes.tokens else None
    scored = batch.targets != IGNORED
    tokens = must_remember(config)
    cut = (length - reach) // 2 if tokens is None else int(scored.any(0).nonzero()[0]) - tokens + 1
    if cut < 1:
        return None
    beyond = torch.arange(length, device=scored.device) >= cut + reach
    return Question(cut, scored & beyond)


def _one_document(batch: Batch) -> Tensor:
    """Return marks by which each row is one document."""
    reset = torch.zeros_like(batch.reset)
    reset[:, :1] = True
    return reset


def logits_of(model: Model, batch: Batch) -> Tensor:
    """Return what a network says of a batch, from a fresh memory."""
    return forward(model, batch, model.initial_state(len(batch.tokens)), "fp32").logits


def _said(model: Model, batch: Batch, places: Tensor) -> Tensor:
    """Return the logits at the places in float64, each less its mean."""
    logits = logits_of(model, batch)[places].double()
    return logits - logits.mean(-1, keepdim=True)


def travel_check(config: RunConfig, echo: float | None) -> Check:
    """Check that the learning rates of the run add up to what an echo asks for, None of a network without one."""
    found, least = travel(config), least_travel(config, echo)
    sentence = f"the learning rates of {config.train.max_steps:,} steps add up to {found:.2f} spreads of a weight"
    if must_remember(config) is not None:
        sentence += f", and what is heard asks for {least:.2f}"
    return at_least(TRAVELS, found, least, sentence + said_remedy(config, TRAVELS, found, least))
