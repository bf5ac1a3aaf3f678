"""A model that has learnt recall beyond the attention window, for gates that ask what its memory is worth.

A row is one of `atlas_ref.data.recall`, whose pairs are repeated until they fill a chunk of the memory:

    k_1 v_1 ... k_p v_p   (as many times)   f_1 ... f_G   q_1 f q_2 f ... q_p f

G is the reach of all layers, or where the configured task asks for what lies farther back (`preflight.span`), as many
tokens as it does. Where a row of the budget has no room for that, G is smaller and retention is too: what is kept to
the query is the same share, retention^(n / G'), n the tokens of the task and G' = G + 1 those of the probe.

No answer lies within what the layers see without memory, and where a chunk is at most the row, queries have another
anchor than pairs. Shards stay as they are configured: where they are longer than a row, as they should be, they change
nothing; where they are not, the memory restarts before it is asked, and a gate that finds it of no use is right.
Repeating is what makes the probe short: with `step_scale = "mass"` a write is divided by the length of the chunk, so
that one pair shown once is far below the initial memory, and learning begins with a long plateau.

What is known exactly: without memory the best loss is ln V; a memory that keeps the values of a row but not which key
they belong to reaches ln p. `WORTH` lies in between: of a row's values at most the root of p may be left in question.

How many steps that takes hangs on the memory, and a run may have more rows to a step. So a probe that has begun, by
`BEGUN`, and has not gained `WORTH` at the end of its steps, is trained anew with `MORE` times as many: a verdict is not
to be one about the length of the probe. One that has not begun is not, so that a memory of no use costs no more.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import nn

from atlas_ref.config import ModelConfig, OptimConfig, RecallConfig, RunConfig
from atlas_ref.config.vocabulary import RECALL_FILLERS
from atlas_ref.data.batch import Batch
from atlas_ref.data.recall import RecallTask
from atlas_ref.errors import UserError
from atlas_ref.models.family import Model
from atlas_ref.training.clipping import NonFiniteError
from atlas_ref.training.optimiser import OuterOptimiser
from atlas_ref.training.run import select_device
from atlas_ref.training.step import to_device, train_step
from preflight.span import must_remember
from preflight.subject import Budget, MakeModel, Subject

PAIRS = 4
"""Pairs in a row, each asked for once."""
SYMBOLS = 8
"""Different keys, and different values: few, so that each is seen often."""
WORTH = math.log(SYMBOLS) - 0.5 * math.log(PAIRS)
"""Nats an answer that a memory must gain: 1.39, half-way between values without keys (0.69) and all answers (2.08)."""
LEAST_REPEATS = 4
"""Times that each pair is shown at least."""
RATE = 0.5
"""Learning rate times the width of the model, at most 0.01: wide models learn with smaller steps."""
SETTLED_STEPS, SETTLED_ANSWERS = 8, 256
"""What the loss is averaged over at least, to see whether the probe has learnt enough: few answers are soon lucky."""
ENOUGH = 0.1
"""Training ends early at this share of the loss of guessing."""
BEGUN = 0.1
"""Nats an answer below guessing from which a probe is under way; the mean of the last losses errs by less."""
MORE = 2
"""Times the steps of the budget that a probe gets which is under way at their end."""
MOST_LAYERS, MOST_HEADS, MOST_WINDOW, MOST_WORDS = 2, 4, 16, 1024
"""Of the model that is trained: a larger one is probed by a smaller one with the same memory, and the gate says so."""

MakeOptimiser = Callable[[nn.Module, OptimConfig], OuterOptimiser]


class Probe(NamedTuple):
    """What a probe trains on: its configuration, how often pairs are repeated, and what is smaller than configured."""

    config: RunConfig
    repeats: int
    reduced: dict[str, str]

    @property
    def asked(self) -> int:
        """Index of the first query; everything that is asked for lies before it."""
        return 2 * PAIRS * self.repeats + self.config.data.recall.gap

    def batch(self, step: int) -> Batch:
        """Return the rows of a step, on the device; no row comes twice."""
        task = RecallTask(self.config.data, self.config.train)
        tokens, targets, reset = (
            torch.cat([once[:, : 2 * PAIRS].repeat(1, self.repeats), once[:, 2 * PAIRS :]], 1)
            for once in task.batch(step).tensors()
        )
        reset[:, 1:] = False
        return to_device(Batch(tokens, targets, reset), select_device(self.config.train.device))

    def held_out(self, index: int) -> Batch:
        """Return rows on which it was not trained."""
        return self.batch(self.config.train.max_steps + index)


class Trained(NamedTuple):
    """A probe's model in evaluation, the loss of its last steps, their number, and what stopped it, if anything."""

    model: Model
    loss: float
    steps: int
    failure: str | None


def plan_probe(config: RunConfig, seed: int, budget: Budget) -> Probe:
    """Return the probe of a configuration; raise UserError where `sequence_length` has no room for a row of it."""
    model, reduced = probe_model(config.model)
    gap, distance = model.reach, must_remember(config)
    repeats = max(LEAST_REPEATS, math.ceil(model.memory.chunk / (2 * PAIRS)))
    if distance is not None:
        gap = max(gap, min(distance - 1, budget.sequence_length - 2 * PAIRS * (repeats + 1)))
        if gap + 1 < distance:
            model, reduced = forgetting_as_much(model, reduced, distance / (gap + 1))
    room = (budget.sequence_length - gap - 2 * PAIRS) // (2 * PAIRS)
    if room < 1:
        raise UserError(
            f"preflight: rows of {budget.sequence_length} tokens are too short to ask for what attention cannot see; "
            f"--sequence-length must be at least {gap + 4 * PAIRS} for this configuration."
        )
    recall = RecallConfig(pairs=PAIRS, keys=SYMBOLS, values=SYMBOLS, gap=gap, queries=PAIRS)
    data = {"source": "recall", "sequence_length": 4 * PAIRS + gap, "recall": recall}
    rate, steps = min(0.01, RATE / model.d_model), budget.probe_steps
    optim = {"learning_rate": rate, "min_learning_rate": 0.1 * rate, "warmup_steps": steps // 10, "schedule": "cosine"}
    train = {"seed": seed, "batch_size": budget.batch_size, "micro_batches": 1, "max_steps": steps}
    changed = {
        "model": model,
        "data": config.data.model_copy(update=data),
        "optim": config.optim.model_copy(update=optim),
        "train": config.train.model_copy(update=train),
    }
    return Probe(config.model_copy(update=changed), min(room, repeats), reduced)


def forgetting_as_much(
    config: ModelConfig, reduced: Mapping[str, str], ratio: float
) -> tuple[ModelConfig, dict[str, str]]:
    """Return the model that keeps over a distance what the configured one keeps over one `ratio` times as long."""
    gates = config.memory.gates
    if gates.retention_kind != "learned":
        return config, dict(reduced)
    retention = gates.retention_init**ratio
    memory = config.memory.model_copy(update={"gates": gates.model_copy(update={"retention_init": retention})})
    named = {**reduced, "memory.gates.retention_init": f"{retention:.4f} in place of {gates.retention_init}"}
    return config.model_copy(update={"memory": memory}), named


def probe_model(config: ModelConfig) -> tuple[ModelConfig, dict[str, str]]:
    """Return the model that is trained, and what differs from the configured one; the memory of a head never does.

    As many of its heads are fast, in proportion; the spread of its weights keeps its share of 1 / sqrt(width).
    """
    heads = min(config.n_heads, MOST_HEADS)
    width = heads * config.memory.value_dim
    # The probe is a model at the end of its schedules.
    gates = config.memory.gates.model_copy(
        update={"fast_heads": math.ceil(config.memory.gates.fast_heads * heads / config.n_heads)}
    )
    window, chunk = min(config.attention.window, MOST_WINDOW), config.memory.chunk
    segment = min(config.mac.segment, chunk * math.ceil(MOST_WINDOW / chunk))
    changed = {
        "n_layers": min(config.n_layers, MOST_LAYERS),
        "n_heads": heads,
        "d_model": width,
        "vocab_size": min(max(config.vocab_size, 2 * SYMBOLS + RECALL_FILLERS), MOST_WORDS),
        "feed_forward_dim": max(1, config.feed_forward_dim * width // config.d_model),
        "memory": config.memory.model_copy(update={"gates": gates, "ttl_warmup_steps": 0}),
        "gate": config.gate.model_copy(update={"floor_decay_steps": 0}),
        "attention": config.attention.model_copy(update={"window": window}),
        "mac": config.mac.model_copy(update={"segment": segment}),
        "init_std": min(1.0, config.init_std * math.sqrt(config.d_model / width)),
    }
    reduced = {
        name: f"{new} in place of {getattr(config, name)}"
        for name, new in changed.items()
        if isinstance(new, int) and new != getattr(config, name)
    }
    if window != config.attention.window:
        reduced["attention.window"] = f"{window} in place of {config.attention.window}"
    if config.segment > segment:
        reduced["mac.segment"] = f"{segment} in place of {config.segment}"
    return config.model_copy(update=changed), reduced


def trained_probe(config: RunConfig, subject: Subject, seed: int, budget: Budget) -> tuple[Probe, Trained]:
    """Return the probe of a configuration and a model that was trained on it, anew where it was under way at the end.

    The probe is the one of the longer training then.
    """
    budget = _key(budget)
    trained = _trained(config, subject.model, subject.optimiser, seed, budget, True)
    if trained.failure is None and _under_way(trained.loss):
        budget = replace(budget, probe_steps=MORE * budget.probe_steps)
        trained = _trained(config, subject.model, subject.optimiser, seed, budget, True)
    return plan_probe(config, seed, budget), trained


def trained_twin(config: RunConfig, subject: Subject, seed: int, budget: Budget) -> Trained:
    """Return a model with the same start, trained on the same rows for as many steps, without writing."""
    probe, _ = trained_probe(config, subject, seed, budget)
    budget = replace(_key(budget), probe_steps=probe.config.train.max_steps)
    return _trained(config, subject.model, subject.optimiser, seed, budget, False)


def _under_way(loss: float) -> bool:
    """Return whether a probe has begun to answer and has not yet gained what a memory must."""
    return WORTH > math.log(SYMBOLS) - loss > BEGUN


def _key(budget: Budget) -> Budget:
    """Return the part of a budget that training depends on."""
    return replace(budget, batches=0)


@lru_cache(maxsize=4)
def _trained(
    config: RunConfig, make: MakeModel, optimise: MakeOptimiser, seed: int, budget: Budget, writes: bool
) -> Trained:
    """Train a model, or its twin; the last few are kept, as two gates ask for them, and nothing changes them."""
    probe = plan_probe(config, seed, budget)
    if writes:
        return _train(probe, make(probe.config.model, seed), optimise, budget.probe_steps, ENOUGH)
    steps = _trained(config, make, optimise, seed, budget, True).steps
    return _train(probe, make(without_writes(probe.config.model), seed), optimise, steps, 0.0)


def without_writes(config: ModelConfig) -> ModelConfig:
    """Return the configuration of the ablation: same parameters, but the initial memory is read for ever."""
    return config.model_copy(update={"disable_memory": True})


def _train(probe: Probe, model: Model, optimise: MakeOptimiser, steps: int, enough: float) -> Trained:
    """Train until the loss is `enough` of the loss of guessing, for at most `steps` steps."""
    model = model.to(select_device(probe.config.train.device))
    optimiser = optimise(model, probe.config.optim)
    losses: list[float] = []
    failure = None
    settled = settling_steps(probe.config.train.batch_size)
    while len(losses) < steps and not _mean_of_last(losses, settled) < enough * math.log(SYMBOLS):
        batch = probe.batch(len(losses))
        fresh = model.initial_state(len(batch.tokens))
        try:
            losses.append(train_step(model, optimiser, batch, fresh, len(losses), probe.config).loss)
        except NonFiniteError as error:
            failure = str(error)
            break
    return Trained(model.eval(), _mean_of_last(losses, settled), len(losses), failure)


def describe(probe: Probe, trained: Trained) -> Mapping[str, str | int | float | bool | None]:
    """Return what the evidence of a gate says of its probe."""
    config = probe.config
    reduced = "; ".join(f"{name} {change}" for name, change in probe.reduced.items())
    return {
        "probe_model": f"the configured memory in a smaller model: {reduced}" if reduced else "the configured model",
        "probe_task": f"{PAIRS} pairs of {SYMBOLS} keys and values, shown {probe.repeats} times, "
        f"asked for after {config.data.recall.gap} tokens of filler",
        "probe_crosses_a_chunk": probe.asked >= config.model.memory.chunk,
        "probe_crosses_a_shard": 0 < config.model.memory.shards.length < probe.asked + 2 * PAIRS,
        "probe_steps": trained.steps,
        "probe_loss": trained.loss,
        "probe_failure": trained.failure,
        "loss_of_guessing": math.log(SYMBOLS),
        "loss_of_values_without_keys": math.log(PAIRS),
    }


def settling_steps(rows: int) -> int:
    """Return the number of steps over which the loss is averaged where a batch has so many rows."""
    return max(SETTLED_STEPS, math.ceil(SETTLED_ANSWERS / (PAIRS * rows)))


def _mean_of_last(losses: list[float], count: int) -> float:
    """Return the mean of the last `count` losses; infinite while there are fewer."""
    last = losses[-count:]
    return sum(last) / count if len(last) == count else math.inf
