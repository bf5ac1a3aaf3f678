"""The gate *Memory Ablation*: after a short training, is the loss better with what the memory holds than without?

A probe learns recall beyond the attention window (`preflight.recall`). Three differences of losses, in nats an answer,
on rows that it was not trained on, each paired over batches:

- *within a call*: the same weights, with nothing written while the row is read (state and reads of it are gone, the
  initial memory is still read: it is a learned layer);
- *between calls*: the row cut before its queries, with an empty memory in place of the state that is handed over;
- *a twin*: another model with the same start, data and steps, trained without writing.

Only the twin is fair: a model whose memory is taken away after training may be sure of a wrong answer, and is then
worse than guessing. Only the ablations say that it is this model's state that helps. So all three must gain.

Deliberately different from the source system, whose threshold was 10 points of perplexity, below the noise at a
perplexity of 72,000 and out of reach at 20, and which only dropped what was carried between calls.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import JsonValue
from torch import nn

from atlas_ref.blocks.memory_branch import MemoryBranch, MemoryLayerOutput
from atlas_ref.config import RunConfig
from atlas_ref.data.batch import Batch
from atlas_ref.memory.state import StateTree
from atlas_ref.models.family import Model
from atlas_ref.training.step import forward
from preflight.memory_contents import empty_memory
from preflight.observe import mean_loss
from preflight.recall import WORTH, Probe, Trained, describe, trained_probe, trained_twin, without_writes
from preflight.result import Check, GateResult, at_least, conclude
from preflight.statistics import mean_interval, paired_differences
from preflight.subject import Budget, Subject

GATE = "memory-ablation"


class Losses(NamedTuple):
    """Mean loss of the answers of each batch, in nats, by what was there to find them."""

    whole: list[float]
    """everything, in one call"""
    unwritten: list[float]
    """the same weights, nothing written"""
    unread: list[float]
    """the same weights, with zeros in place of the memory's reads"""
    handed: list[float]
    """in two calls, with the state that is handed over"""
    emptied: list[float]
    """in two calls, with an empty memory in the second"""
    twin: list[float]
    """a model that was trained without writing"""


def memory_ablation(config: RunConfig, subject: Subject, seed: int, budget: Budget) -> GateResult:
    """Examine what the memory of a trained probe of `subject` is worth (module docstring)."""
    started = perf_counter()
    probe, trained = trained_probe(config, subject, seed, budget)
    twin = trained_twin(config, subject, seed, budget)
    # The ablation is the subject's own: what its memory does besides writing stays as it is.
    ablated = subject.model(without_writes(probe.config.model), seed).to(next(trained.model.parameters()).device)
    ablated.load_state_dict(trained.model.state_dict())
    losses = _measure(probe, subject, trained.model, ablated.eval(), twin.model, budget)
    evidence = {**describe(probe, trained), **_evidence(losses), "twin_failure": twin.failure}
    return conclude(GATE, _checks(losses, (trained, twin)), evidence, perf_counter() - started)


@torch.inference_mode()
def _measure(probe: Probe, subject: Subject, model: Model, ablated: Model, twin: Model, budget: Budget) -> Losses:
    losses, config = Losses([], [], [], [], [], []), probe.config
    for index in range(budget.batches):
        batch = probe.held_out(index)
        fresh = model.initial_state(len(batch.tokens))
        losses.whole.append(answer_loss(config, model, batch, fresh))
        losses.unwritten.append(answer_loss(config, ablated, batch, fresh))
        losses.twin.append(answer_loss(config, twin, batch, twin.initial_state(len(batch.tokens))))
        with _silenced(model):
            losses.unread.append(answer_loss(config, model, batch, fresh))
        before, after = cut(batch, probe.asked)
        handed = subject.hand_over(forward(model, before, fresh, config.train.precision).state.detach())
        losses.handed.append(answer_loss(config, model, after, handed))
        losses.emptied.append(answer_loss(config, model, after, empty_memory(handed, fresh)))
    return losses


def cut(batch: Batch, at: int) -> tuple[Batch, Batch]:
    """Return the part of a batch before token `at`, and the rest."""
    return batch.map(lambda tensor: tensor[:, :at]), batch.map(lambda tensor: tensor[:, at:])


def answer_loss(config: RunConfig, model: Model, batch: Batch, state: StateTree) -> float:
    """Return the mean loss of what counts in a batch, in nats."""
    return mean_loss(config, forward(model, batch, state, config.train.precision), batch).item()


@contextmanager
def _silenced(model: nn.Module) -> Iterator[None]:
    """Let every memory of the model read zeros while the context is open."""

    def silence(_module: nn.Module, _inputs: Any, output: MemoryLayerOutput) -> MemoryLayerOutput:
        return output._replace(reads=torch.zeros_like(output.reads))

    layers = [module for module in model.modules() if isinstance(module, MemoryBranch)]
    handles = [layer.register_forward_hook(silence) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def gain_check(name: str, without: Sequence[float], with_it: Sequence[float], least: float, what: str) -> Check:
    """Return the check that a loss is lower by at least `least` nats; a loss that is not finite fails."""
    gains = paired_differences(without, with_it)
    if not all(math.isfinite(gain) for gain in gains):
        return at_least(name, math.nan, least, f"{what}: a loss is not finite")
    mean = float(np.mean(gains))
    return at_least(name, mean, least, f"{what}: {mean:+.3f} nats an answer", mean_interval(gains))


def failure_check(models: Sequence[Trained]) -> list[Check]:
    """Return the check that fails where a training broke off, and none where all went through."""
    failures = [model.failure for model in models if model.failure is not None]
    return [at_least("the probe trains", math.nan, 0.0, failures[0])] if failures else []


def _checks(losses: Losses, models: Sequence[Trained]) -> list[Check]:
    return [
        *failure_check(models),
        gain_check(
            "memory helps within a call", losses.unwritten, losses.whole, WORTH, "writing gains, in the same weights"
        ),
        gain_check(
            "memory helps between calls", losses.emptied, losses.handed, WORTH, "the state that is handed over gains"
        ),
        gain_check(
            "memory beats its absence", losses.twin, losses.whole, WORTH, "against a twin trained without writing"
        ),
    ]


def _evidence(losses: Losses) -> dict[str, JsonValue]:
    found = {f"loss_{name}": float(np.mean(values)) for name, values in losses._asdict().items()}
    return dict[str, JsonValue](found)
