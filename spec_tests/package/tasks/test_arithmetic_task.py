"""The task of arithmetic: one answer a row behind its last token, by softmax or StableMax, for any family of models."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from atlas_ref.config import RunConfig, load_config
from atlas_ref.data.arithmetic import ArithmeticPairs
from atlas_ref.data.batch import IGNORED, Batch
from atlas_ref.models.perceptron import PerceptronOutput
from atlas_ref.tasks.registry import task_of
from preflight.gates import HELD_OUT_GATES, gates_of
from preflight.held_out import held_out
from preflight.result import Verdict
from preflight.subject import HEALTHY, Budget
from spec_tests.package.micro.arithmetic import arithmetic_config, make_model, transformer_config
from spec_tests.package.micro.cognate import cognate_config
from spec_tests.package.micro.runs import micro_config

PAIRS = (
    "data.source='arithmetic'",
    "data.sequence_length=2",
    "data.arithmetic.modulus=31",
    "model.vocab_size=31",
    "train.batch_size=200",
)
"""Arithmetic with as many numbers as leave a fresh model no luck, for a model that was made for other data."""
SIGN = ("data.arithmetic.modulus=31", "model.vocab_size=32", "train.batch_size=200")


def outcome(logits: torch.Tensor, targets: torch.Tensor) -> tuple[PerceptronOutput, Batch]:
    """Return an output with these logits, and a batch with these targets."""
    batch = Batch(torch.zeros_like(targets), targets, torch.zeros_like(targets, dtype=torch.bool))
    return PerceptronOutput(logits, make_model().initial_state(len(logits))), batch


@pytest.mark.parametrize("probabilities", ["softmax", "stablemax"])
def test_the_loss_is_that_of_the_answers_by_the_probabilities_of_the_config(probabilities: str) -> None:
    """By loops. Kills: the other probabilities; a mean; logits before the last token; a row without an answer."""
    task = task_of(arithmetic_config(f"data.arithmetic.probabilities='{probabilities}'").data)
    random = np.random.default_rng(3)
    logits, targets = 3.0 * random.normal(size=(5, 2, 7)), np.full((5, 2), IGNORED)
    targets[:4, 1] = [3, 0, 6, 2]
    expected = 0.0
    for row in range(4):
        x = logits[row, 1]
        s = np.exp(x) if probabilities == "softmax" else np.where(x >= 0, x + 1.0, 1.0 / (1.0 - np.minimum(x, 0.0)))
        expected -= np.log(s[targets[row, 1]] / s.sum())
    output, batch = outcome(torch.from_numpy(logits), torch.from_numpy(targets))
    assert task.loss(output, batch).item() == pytest.approx(expected, rel=1e-12)
    assert int(task.count(batch)) == 4
    meter = task.meter(ArithmeticPairs((config := arithmetic_config()).data, config.train))
    meter.add(output, batch)
    found = meter.metrics(meter.sums())
    assert found["loss"] == pytest.approx(expected / 4, rel=1e-12)
    assert found["accuracy"] == (logits[:4, 1].argmax(-1) == targets[:4, 1]).mean()


@pytest.mark.parametrize("source", ["relay", "sudoku"])
def test_the_loss_of_puzzles_by_stablemax_is_that_of_every_scored_place(source: str) -> None:
    """By loops. Kills: the probabilities of the other task of puzzles; a meter that judges by softmax; places that are
    not scored.
    """
    config = load_config(source, [f"data.{source}.probabilities='stablemax'", "train.batch_size=2"])
    task = task_of(config.data)
    random = np.random.default_rng(5)
    logits, targets = 3.0 * random.normal(size=(2, 4, 5)), random.integers(5, size=(2, 4))
    targets[0, 1:3] = IGNORED
    expected = 0.0
    for row, place in zip(*np.nonzero(targets != IGNORED), strict=True):
        x = logits[row, place]
        s = np.where(x >= 0, x + 1.0, 1.0 / (1.0 - np.minimum(x, 0.0)))
        expected -= np.log(s[targets[row, place]] / s.sum())
    output, batch = outcome(torch.from_numpy(logits), torch.from_numpy(targets))
    assert task.loss(output, batch).item() == pytest.approx(expected, rel=1e-12)
    meter = task.meter(ArithmeticPairs((other := arithmetic_config()).data, other.train))
    meter.add(output, batch)
    assert meter.metrics(meter.sums())["loss"] == pytest.approx(expected / 6, rel=1e-12)


def test_an_equals_sign_stands_behind_the_numbers_and_the_answer_behind_it() -> None:
    """Kills: a number for the sign; an answer behind the second number; a sign that is asked about."""
    config = transformer_config()
    source = ArithmeticPairs(config.data, config.train)
    assert (source.vocab_size, source.numbers, source.training_tokens) == (8, 7, 3 * 29)
    for batch in (source.batch(0), source.validation(0), source.trained.validation(0)):
        assert batch.tokens[:, 2].eq(7).all()
        assert batch.tokens[:, :2].lt(7).all()
        assert batch.targets[:, :2].eq(IGNORED).all()
        assert batch.reset.tolist() == [[True, False, False]] * len(batch.reset)
        scored = batch.targets[:, 2] != IGNORED
        assert torch.equal(batch.targets[scored, 2], batch.tokens[scored, :2].sum(1) % 7)


FAMILIES: dict[str, Callable[[], RunConfig]] = {
    "atlas": lambda: micro_config(*PAIRS),
    "cognate": lambda: cognate_config(*PAIRS),
    "transformer": lambda: transformer_config(*SIGN),
}
slow = pytest.mark.exhaustive


@pytest.mark.parametrize("family", [*(pytest.param(name, marks=slow) for name in ("atlas", "cognate")), "transformer"])
def test_a_model_of_any_family_passes_the_gate_of_arithmetic(family: str) -> None:
    """Kills: a family that cannot read rows of two tokens; an answer counted for the sign."""
    budget = Budget(probe_steps=8, batches=2, sequence_length=2, batch_size=5)
    checks = held_out(FAMILIES[family](), HEALTHY, 0, budget).checks
    assert [check.name for check in checks if check.verdict is not Verdict.PASS] == []


def test_the_task_decides_whether_its_gate_is_asked() -> None:
    """Kills: a gate that goes by the family; a sentence against a model that can answer; the gate of pairs for all."""
    assert all(gates_of(config()) == HELD_OUT_GATES for config in FAMILIES.values())
    assert not gates_of(load_config("tiny")).keys() & HELD_OUT_GATES.keys()
