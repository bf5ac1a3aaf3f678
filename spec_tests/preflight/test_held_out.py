"""The gate of what is to generalise passes a healthy run, and names what is broken in another."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from atlas_ref.data import arithmetic
from atlas_ref.data.arithmetic import ArithmeticPairs, Pairs
from atlas_ref.data.batch import Batch
from atlas_ref.models.family import Model
from atlas_ref.models.perceptron import PerceptronModel, PerceptronOutput
from preflight.gates import gates_of
from preflight.held_out import held_out
from preflight.result import GateResult, Verdict
from preflight.subject import HEALTHY, Budget, Subject
from spec_tests.package.micro.arithmetic import arithmetic_config

BUDGET = Budget(probe_steps=8, batches=2, sequence_length=2, batch_size=5)


def examined(subject: Subject = HEALTHY, *overrides: str) -> GateResult:
    # As many numbers as leave a fresh model no luck.
    p = ("data.arithmetic.modulus=31", "model.vocab_size=31", "train.batch_size=200")
    return held_out(arithmetic_config(*p, *overrides), subject, 0, BUDGET)


def failed(found: GateResult) -> list[str]:
    return [check.name for check in found.checks if check.verdict is not Verdict.PASS]


def with_logits(change: Callable[[Tensor, Tensor], Tensor]) -> Subject:
    """Return a subject whose logits pass through a function of tokens and logits."""

    def act(_module: nn.Module, inputs: Any, output: PerceptronOutput) -> PerceptronOutput:
        return output._replace(logits=change(inputs[0], output.logits))

    def build(config: Any, seed: int) -> Model:
        model = PerceptronModel(config, seed)
        model.register_forward_hook(act)
        return model

    return replace(HEALTHY, name="broken", model=build)


def knows(tokens: Tensor, logits: Tensor) -> Tensor:
    answer = tokens.cumsum(1) % logits.shape[-1]
    return logits + 100.0 * nn.functional.one_hot(answer, logits.shape[-1]).to(logits.dtype)


SUBJECTS: dict[str, tuple[Subject, str]] = {
    "an answer that is known before anything is learned": (with_logits(knows), "chance"),
    "a look at the next number": (with_logits(lambda _, x: x + 0.1 * x.roll(-1, 1)), "causality"),
    "a mean over rows": (with_logits(lambda _, x: x + x.mean(0)), "rows"),
    "a sum that is thrown away": (replace(HEALTHY, hand_over=lambda state: state.map(torch.zeros_like)), "splits"),
    "logits without a history": (
        with_logits(lambda _, x: x.detach() + 0.0 * x.sum()),
        "gradients reach what is trained",
    ),
}


def test_a_healthy_run_passes_and_this_is_the_gate_that_it_must_pass() -> None:
    assert failed(examined()) == []
    assert list(gates_of(arithmetic_config()).values()) == [held_out]


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_broken_model_fails_by_the_check_of_its_fault(name: str) -> None:
    subject, check = SUBJECTS[name]
    assert check in failed(examined(subject))


def test_a_batch_that_draws_from_all_pairs_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def batch(source: ArithmeticPairs, step: int) -> Batch:
        return (source.held_out if step == 1 else source.trained).validation(0)

    monkeypatch.setattr(ArithmeticPairs, "batch", batch)
    assert failed(examined()) == ["disjoint"]


def test_a_split_that_keeps_an_answer_back_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def split(task: Any, rows: int) -> tuple[Pairs, Pairs]:
        order: NDArray[np.int64] = np.arange(task.modulus**2)
        pairs = np.stack(np.divmod(order, task.modulus), 1)
        answers = pairs.sum(1) % task.modulus
        late = answers == 3
        return Pairs(pairs[~late], answers[~late], rows), Pairs(pairs[late], answers[late], int(late.sum()))

    monkeypatch.setattr(arithmetic, "split", split)
    assert "answers" in failed(examined())
