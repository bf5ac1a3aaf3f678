"""A short training on recall: after it the state of the memory is worth something, and its loss can be measured.

The loss of an untrained model is flat: it is as bad with its state as without, so that every difference is near zero
and every gate that measures one would pass. Recall is learnt quickly, because a memory that starts as an associative
one only has to be listened to.
"""

import math
from typing import NamedTuple

from atlas_ref.config import DataConfig, RecallConfig, RunConfig
from atlas_ref.data.recall import RecallTask
from atlas_ref.data.vocabulary import RECALL_FILLERS
from atlas_ref.errors import UserError
from atlas_ref.models.atlas import AtlasModel
from atlas_ref.training.run import select_device
from atlas_ref.training.step import NonFiniteError, to_device, train_step
from preflight.subject import Budget, Subject

PAIRS = 4
"""Key-value pairs in a row, each asked for."""
SYMBOLS = 16
"""Most different keys, and most different values."""
MOST_ROWS = 16
"""Rows of recall are short: as many make a batch as have its tokens, up to this."""
RATE = 0.5
"""Learning rate times the width of the model, at most 0.01: wide models learn with smaller steps."""
SETTLED = 8
"""Steps over which the loss is averaged, to see whether the probe has learnt enough."""
ENOUGH = 1.0 / 3.0
"""Training ends early at this share of the loss of guessing."""


class Probe(NamedTuple):
    """A model after its probe training, the task it was trained on, and how that went."""

    model: AtlasModel
    task: RecallTask
    asked: int
    """Index of the first query in a row; everything that is asked for lies before it."""
    steps: int
    loss: float
    failure: str | None


def recall_probe(config: RunConfig, subject: Subject, seed: int, budget: Budget) -> Probe:
    """Train a model of `subject` on recall, for at most `probe_steps` steps, with the configured optimiser.

    The filler is longer than what the layers see without memory, where `sequence_length` has room for that. Where it
    has not there is none: rows are short, and the cached window of attention, a part of the state too, may answer.
    """
    config = _probe_config(config, seed, budget)
    device = select_device(config.train.device)
    task = RecallTask(config.data, config.train)
    model = subject.model(config.model, seed).to(device)
    optimiser = subject.optimiser(model, config.optim)
    losses: list[float] = []
    failure = None
    for step in range(budget.probe_steps):
        batch = to_device(task.batch(step), device)
        try:
            losses.append(
                train_step(model, optimiser, batch, model.initial_state(len(batch.tokens)), step, config).loss
            )
        except NonFiniteError as error:
            failure = str(error)
            break
        if _mean_of_last(losses) < ENOUGH * math.log(config.data.recall.values):
            break
    asked = config.data.sequence_length - 2 * config.data.recall.queries
    return Probe(model, task, asked, len(losses), _mean_of_last(losses), failure)


def _mean_of_last(losses: list[float]) -> float:
    last = losses[-SETTLED:]
    return sum(last) / len(last) if len(last) == SETTLED else math.inf


def _probe_config(config: RunConfig, seed: int, budget: Budget) -> RunConfig:
    """Return the configuration of the probe: the same model and optimiser, on recall in the model's own vocabulary."""
    symbols = min(SYMBOLS, (config.model.vocab_size - RECALL_FILLERS) // 2)
    if symbols < 2:
        raise UserError(
            f"preflight: model.vocab_size is {config.model.vocab_size}; it must be at least {4 + RECALL_FILLERS}, "
            "two keys, two values and the fillers, to probe recall"
        )
    pairs = min(PAIRS, symbols)
    beyond = config.model.reach + 1
    gap = beyond if 4 * pairs + beyond <= budget.sequence_length else 0
    recall = RecallConfig(pairs=pairs, keys=symbols, values=symbols, gap=gap, queries=pairs)
    data: DataConfig = config.data.model_copy(
        update={"source": "recall", "sequence_length": 4 * pairs + gap, "recall": recall}
    )
    rate = min(0.01, RATE / config.model.d_model)
    steps = max(1, budget.probe_steps)
    optim = config.optim.model_copy(
        update={"learning_rate": rate, "min_learning_rate": 0.1 * rate, "warmup_steps": steps // 10}
    )
    rows = min(MOST_ROWS, max(1, budget.batch_size * budget.sequence_length // data.sequence_length))
    train = config.train.model_copy(update={"seed": seed, "batch_size": rows, "max_steps": steps})
    return config.model_copy(update={"data": data, "optim": optim, "train": train})
