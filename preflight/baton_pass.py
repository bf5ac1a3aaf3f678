"""The gate *Baton Pass*: does the state that one call leaves reach the next one, whole, in its own row, and no other?

Two kinds of evidence. Exact: in float64 a sequence gives the same logits and the same state however it is cut, through
a checkpoint too; rows are alone in the world; a reset is a fresh start; the future is unknown. Measured: after a short
training on recall, the loss just after a boundary against the loss of the same tokens of the same rows when the cut is
not there, with the state that the subject hands over, and with none at all.

Deliberately different from the source system, which compared position 0 of boundary batches with the rest of them, on
an untrained model whose loss is flat, and passed whatever was carried. Here a cut that loses everything must cost
something first; where it does not, the gate has no power and says so: INCONCLUSIVE.
"""

import math
from collections.abc import Sequence
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch
from pydantic import JsonValue
from torch import Tensor

from atlas_ref.config import RunConfig
from atlas_ref.data.batch import Batch
from atlas_ref.memory.state import StateTree
from atlas_ref.models.family import Model
from atlas_ref.training.run import select_device
from atlas_ref.training.step import forward
from preflight.boundaries import (
    Difference,
    difference,
    future_leak,
    reset_of_first_row,
    rows_alone,
    run_cut,
    through_checkpoint,
)
from preflight.observe import mean_loss
from preflight.recall import Probe, describe, trained_probe
from preflight.result import Check, GateResult, at_most, conclude, powered
from preflight.statistics import mean_interval, paired_differences
from preflight.subject import Budget, HandOver, Subject

GATE = "baton-pass"

STIR = 0.02
"""Spread of what is added to every parameter for the exact checks: at the start some are zero and hide a fault."""
ROWS = 3
"""Rows of the exact checks: with two, a swap looks like its own inverse."""

TOLERANCE = 1e-5
"""Relative, in float64: rounding is below 1e-12, a state kept in float32 below 1e-6, one kept in bfloat16 at 1e-3."""
VISIBLE = 100 * TOLERANCE
"""Least change of the logits when the state is dropped; below it, sameness would prove nothing."""
PENALTY = 0.01
"""Nats that a boundary may cost: 1% of perplexity, and a tenth of the least that the state must be worth."""
WORTH = 0.1
"""Least nats that dropping the state must cost, for its loss at a boundary to mean anything."""


def baton_pass(config: RunConfig, subject: Subject, seed: int, budget: Budget) -> GateResult:
    """Examine what `subject` hands over at boundaries (module docstring)."""
    started = perf_counter()
    exact = _exact_checks(config, _stirred(config, subject, seed), subject.hand_over, seed, budget)
    probe, trained = trained_probe(config, subject, seed, budget)
    losses = _boundary_losses(probe, trained.model, subject.hand_over, budget)
    evidence: dict[str, JsonValue] = {
        **describe(probe, trained),
        "probe_loss": _finite(trained.loss),
        "loss_without_cut": _finite(float(np.mean(losses.whole))),
        "loss_after_cut": _finite(float(np.mean(losses.handed))),
        "loss_without_state": _finite(float(np.mean(losses.dropped))),
    }
    return conclude(GATE, [*exact, *_loss_checks(losses)], evidence, perf_counter() - started)


@torch.no_grad()
def _stirred(config: RunConfig, subject: Subject, seed: int) -> Model:
    """Return the configured model in float64, moved a little off its start, so that its gates depend on tokens."""
    model = subject.model(config.model, seed).to(select_device(config.train.device)).double()
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.add_(STIR * torch.randn(parameter.shape, generator=generator).to(parameter))
    return model


def _finite(value: float) -> float | None:
    """Return a number that JSON has a word for."""
    return value if math.isfinite(value) else None


def _exact_checks(config: RunConfig, model: Model, hand_over: HandOver, seed: int, budget: Budget) -> list[Check]:
    """Check sameness on random tokens that reach over several chunks."""
    chunk = config.model.memory.chunk
    length = max(budget.sequence_length, 2 * chunk + 5)
    tokens, others = _random_tokens(model, (2, ROWS, length), seed)
    inside = chunk + chunk // 2 + 1
    resets = [reset_of_first_row(model, tokens, inside, cuts, hand_over) for cuts in ((), (inside,))]
    return [
        *_cut_checks(config, model, tokens, inside, hand_over),
        _exact("rows keep their own state", rows_alone(model, tokens, (inside,), hand_over), "each row alone"),
        _exact("a reset is a fresh start", max(resets), "one row reset"),
        _exact(
            "the future is unknown",
            future_leak(model, tokens, others, (0, chunk - 1, inside, length - 2)),
            "later tokens replaced",
        ),
    ]


def _cut_checks(config: RunConfig, model: Model, tokens: Tensor, inside: int, hand_over: HandOver) -> list[Check]:
    """Check that cuts change nothing, with a checkpoint at one of them, and that losing the state there would."""
    chunk = config.model.memory.chunk
    whole = run_cut(model, tokens, (), hand_over)
    places = {
        "at a chunk border": (chunk,),
        "inside a chunk": (inside,),
        "after one, two and many tokens": (1, 2, inside, inside + 1),
    }
    splits = {place: difference(run_cut(model, tokens, cuts, hand_over), whole) for place, cuts in places.items()}
    place = max(splits, key=lambda name: splits[name].size)

    def saved(state: StateTree) -> StateTree:
        return through_checkpoint(config, model, hand_over(state))

    lost = run_cut(model, tokens, (inside,), lambda _: model.initial_state(len(tokens)))
    effect = difference({"logits": lost["logits"]}, {"logits": whole["logits"]}).size
    return [
        _exact("a cut changes nothing", splits[place], f"cut {place}"),
        _exact("a checkpoint changes nothing", difference(run_cut(model, tokens, (inside,), saved), whole), "saved"),
        powered("state shows in the logits", effect, VISIBLE, f"dropping the state moves logits by {effect:.1e}"),
    ]


def _exact(name: str, found: Difference, what: str) -> Check:
    return at_most(name, found.size, TOLERANCE, f"{what}: {found.where} differs by {found.size:.1e} of its largest")


def _random_tokens(model: Model, shape: tuple[int, ...], seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(model.config.vocab_size, shape, generator=generator)
    return tokens.to(next(model.parameters()).device)


class _Losses(NamedTuple):
    """Mean loss of the queries of each batch: uncut, cut before them with the state handed over, and with none."""

    whole: list[float]
    handed: list[float]
    dropped: list[float]


def _boundary_losses(probe: Probe, model: Model, hand_over: HandOver, budget: Budget) -> _Losses:
    """Measure rows that the probe was not trained on, cut just before the first query."""
    cut, precision = probe.asked, probe.config.train.precision
    losses = _Losses([], [], [])
    for index in range(budget.batches):
        batch = probe.held_out(index)
        fresh = model.initial_state(len(batch.tokens))
        with torch.no_grad():
            whole = forward(model, batch, fresh, precision)
            whole = whole._replace(logits=whole.logits[:, cut:])
            before = forward(model, _part(batch, slice(0, cut)), fresh, precision)
            after = _part(batch, slice(cut, None))
            handed = forward(model, after, hand_over(before.state.detach()), precision)
            dropped = forward(model, after, fresh, precision)
        for samples, output in zip(losses, (whole, handed, dropped), strict=True):
            samples.append(mean_loss(probe.config, output, after).item())
    return losses


def _part(batch: Batch, part: slice) -> Batch:
    return batch.map(lambda tensor: tensor[:, part])


def _loss_checks(losses: _Losses) -> list[Check]:
    penalty, worth = _paired(losses.handed, losses.whole), _paired(losses.dropped, losses.whole)
    lost, cost = float(np.mean(penalty)), float(np.mean(worth))
    return [
        at_most(
            "a boundary costs nothing",
            lost,
            PENALTY,
            f"answers just after a boundary cost {lost:+.4f} nats against the same answers without it",
            mean_interval(penalty),
        ),
        powered(
            "state is worth something",
            cost,
            WORTH,
            f"answers without the state cost {cost:+.4f} nats",
            mean_interval(worth),
        ),
    ]


def _paired(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """Return the differences, batch by batch; a loss that is not finite makes all of them NaN."""
    found = paired_differences(first, second)
    return found if all(math.isfinite(value) for value in found) else [math.nan] * len(found)
