"""The gate *Seed Competition*: does a memory that was filled by real context beat one of random numbers?

Two arms with the same weights and the same data. One begins with the memory that the context just before has left (the
seed), the other with a random memory of the same norms; everything around the memory is the same in both. The
difference of their losses is paired over batches, and the seed must win. Besides:

- random against random: neither may win by the same margin, or chance could, and the gate says INCONCLUSIVE;
- the seed must also beat an empty memory. A random one does harm, so that beating it alone would take no knowledge:
  the memory of another row is a better guess than noise.

An untrained memory gains nothing from any seed. So there are two forms. Without a donor a probe is trained first, on
recall beyond the attention window (`preflight.recall`), and asked for what only the seed can tell. With a donor, a
checkpoint of this configuration's model, both arms have its weights (a state means something only to the weights that
wrote it), and predict the second half of validation rows of the configured data after it has read the first. There the
empty memory is evidence, not a check: what memory is worth on a text is no question of whether the seed arrives.

Deliberately different from the source system, which never seeded: both of its arms were random.
"""

from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch
from pydantic import JsonValue
from torch import Tensor

from atlas_ref.config import RunConfig
from atlas_ref.data.batch import Batch
from atlas_ref.errors import UserError
from atlas_ref.models.family import Model
from atlas_ref.storage.checkpoint import Checkpoint
from atlas_ref.training.run import open_data, put_weights, select_device
from atlas_ref.training.step import forward, to_device
from preflight.memory_ablation import answer_loss, cut, failure_check, gain_check
from preflight.memory_contents import empty_memory, random_memory
from preflight.observe import measured_config
from preflight.recall import WORTH, describe, trained_probe
from preflight.result import Check, GateResult, at_most, conclude
from preflight.statistics import mean_interval, paired_differences
from preflight.subject import Budget, HandOver, Subject

GATE = "seed-competition"

DONOR_WORTH = 0.02
"""Nats a token by which a donor's seed must beat noise: a little more than what memory gains on the shipped text."""
DRAWS = 16
"""Random memories of each batch, whose losses are averaged: one draw alone is luck."""


class Arena(NamedTuple):
    """Where the arms compete: a model, batches in two parts, the margin, and what the evidence says of them."""

    model: Model
    batches: list[tuple[Batch, Batch]]
    config: RunConfig
    margin: float
    failures: list[Check]
    evidence: dict[str, JsonValue]


class Losses(NamedTuple):
    """Mean loss of the second part of each batch, in nats, by the memory that it begins with."""

    seeded: list[float]
    random: list[float]
    other_random: list[float]
    empty: list[float]


def seed_competition(
    config: RunConfig, subject: Subject, seed: int, budget: Budget, donor: Checkpoint | None = None
) -> GateResult:
    """Examine whether a seed arrives in models of `subject`, and helps (module docstring).

    Raises UserError where the donor is of another model, and where the budget has no room for a row.
    """
    started = perf_counter()
    arena = (
        _probe_arena(config, subject, seed, budget) if donor is None else _donor_arena(config, subject, donor, budget)
    )
    losses = _compete(arena, subject.hand_over, torch.Generator().manual_seed(seed))
    checks = [
        *arena.failures,
        gain_check("the seed beats noise", losses.random, losses.seeded, arena.margin, "seeded against random"),
        _noise_check(losses, arena.margin),
    ]
    if donor is None:
        checks.append(
            gain_check("the seed beats nothing", losses.empty, losses.seeded, arena.margin, "seeded against empty")
        )
    return conclude(GATE, checks, {**arena.evidence, **_evidence(losses)}, perf_counter() - started)


def _probe_arena(config: RunConfig, subject: Subject, seed: int, budget: Budget) -> Arena:
    """Train a probe on recall; its rows are cut before the first query."""
    probe, trained = trained_probe(config, subject, seed, budget)
    batches = [cut(probe.held_out(index), probe.asked) for index in range(budget.batches)]
    evidence: dict[str, JsonValue] = {"seed": "the memory of the same row before its queries"}
    return Arena(
        model=trained.model,
        batches=batches,
        config=probe.config,
        margin=WORTH,
        failures=failure_check([trained]),
        evidence={**evidence, **describe(probe, trained)},
    )


def check_donor(donor: Checkpoint, config: RunConfig) -> None:
    """Raise UserError for a donor of another model: a state means something only to the weights that wrote it."""
    if donor.config.model != config.model:
        raise UserError(f"{donor.path}: the donor must be of the model that is configured, and its model differs.")


def _donor_arena(config: RunConfig, subject: Subject, donor: Checkpoint, budget: Budget) -> Arena:
    """Give a model the donor's weights; validation rows are cut in the middle, at a chunk border where there is one."""
    check_donor(donor, config)
    measured = measured_config(config, config.train.seed, budget)
    device = select_device(config.train.device)
    model = subject.model(config.model, config.train.seed)
    put_weights(model, donor)
    source = open_data(measured, donor)
    chunk, length = config.model.memory.chunk, measured.data.sequence_length
    if measured.data.source == "recall":
        middle = length - 2 * measured.data.recall.queries
    else:
        middle = length // 2 // chunk * chunk or length // 2
    count = min(budget.batches, source.validation_batches)
    return Arena(
        model=model.to(device).eval(),
        batches=[cut(to_device(_without_cuts(source.validation(i)), device), middle) for i in range(count)],
        config=measured,
        margin=DONOR_WORTH,
        failures=[],
        evidence={"seed": f"the donor's memory after {middle} tokens of the same row", "donor": str(donor.path)},
    )


def _without_cuts(batch: Batch) -> Batch:
    """Return a batch whose rows begin afresh at their first token alone, so that the first part reaches the second."""
    reset = torch.zeros_like(batch.reset)
    reset[:, :1] = True
    return batch._replace(reset=reset)


@torch.inference_mode()
def _compete(arena: Arena, hand_over: HandOver, generator: torch.Generator) -> Losses:
    losses, model = Losses([], [], [], []), arena.model
    for before, after in arena.batches:
        fresh = model.initial_state(len(before.tokens))
        primed = forward(model, before, fresh, arena.config.train.precision).state.detach()
        losses.seeded.append(answer_loss(arena.config, model, after, hand_over(primed)))
        losses.empty.append(answer_loss(arena.config, model, after, hand_over(empty_memory(primed, fresh))))
        # All draws of a batch are rows of one call.
        often, seen = after.map(_repeated), primed.map(_repeated)
        for samples in (losses.random, losses.other_random):
            drawn = hand_over(random_memory(seen, generator))
            samples.append(answer_loss(arena.config, model, often, drawn))
    return losses


def _repeated(tensor: Tensor) -> Tensor:
    """Return `DRAWS` copies of all rows."""
    return tensor.repeat(DRAWS, *[1] * (tensor.ndim - 1))


def _noise_check(losses: Losses, margin: float) -> Check:
    """Check that the better of two random arms does not win by the margin; where it could, the gate cannot tell."""
    differences = paired_differences(losses.random, losses.other_random)
    if float(np.mean(differences)) < 0.0:
        differences = paired_differences(losses.other_random, losses.random)
    mean = float(np.mean(differences))
    sentence = f"random against random: {mean:+.3f} nats an answer for the better one"
    return at_most("noise does not beat noise", mean, margin, sentence, mean_interval(differences), can_fail=False)


def _evidence(losses: Losses) -> dict[str, JsonValue]:
    found: dict[str, JsonValue] = {f"loss_{name}": float(np.mean(values)) for name, values in losses._asdict().items()}
    gain = mean_interval(paired_differences(losses.empty, losses.seeded))
    return {**found, "gain_over_empty_memory": [gain.low, gain.high]}
