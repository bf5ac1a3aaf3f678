"""The gate of recursive models passes a healthy one and names what is broken in another."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from atlas_ref.models.cognate import CognateModel, CognateOutput
from atlas_ref.models.family import Model
from preflight.proof_of_recursion import proof_of_recursion
from preflight.result import GateResult, Verdict
from preflight.subject import HEALTHY, Budget, Subject
from spec_tests.package.micro.cognate import RELAY, cognate_config

BUDGET = Budget(probe_steps=8, batches=2, sequence_length=32, batch_size=3)


def examined(subject: Subject, *overrides: str) -> GateResult:
    return proof_of_recursion(cognate_config("model.recursion.nets='shared'", *overrides), subject, 0, BUDGET)


def broken(change: Callable[[CognateModel], None]) -> Subject:
    """Return a subject whose models are changed after they were made."""

    def build(config: Any, seed: int) -> Model:
        model = CognateModel(config, seed)
        change(model)
        return model

    return replace(HEALTHY, name="broken", model=build)


def with_logits(change: Callable[[Tensor], Tensor]) -> Callable[[CognateModel], None]:
    """Return a change of a model: its logits pass through a function."""

    def act(_module: nn.Module, _inputs: Any, output: CognateOutput) -> CognateOutput:
        return output._replace(logits=change(output.logits))

    def hang(model: CognateModel) -> None:
        model.register_forward_hook(act)

    return hang


def no_halting(model: CognateModel) -> None:
    model.halting_head.weight.requires_grad_(False)


FAULTS: dict[str, tuple[Subject, str]] = {
    "a look at the next token": (broken(with_logits(lambda x: x + 0.1 * x.roll(-1, 1))), "causality"),
    "a mean over rows": (broken(with_logits(lambda x: x + x.mean(0))), "rows"),
    "a halting head that learns nothing": (broken(no_halting), "gradients reach what is trained"),
    "a state that is thrown away": (replace(HEALTHY, hand_over=lambda state: state.map(torch.zeros_like)), "splits"),
}


@pytest.mark.parametrize(
    "fields", [("model.recursion.supervision='equal'",), ("model.recursion.supervision='equal'", *RELAY)]
)
def test_a_healthy_model_passes(fields: tuple[str, ...]) -> None:
    assert examined(HEALTHY, *fields).verdict is Verdict.PASS


@pytest.mark.parametrize("name", FAULTS)
def test_a_broken_model_fails_by_the_check_of_its_fault(name: str) -> None:
    subject, check = FAULTS[name]
    found = examined(subject, "model.recursion.supervision='equal'")
    assert found.verdict is Verdict.FAIL
    assert check in [each.name for each in found.checks if each.verdict is Verdict.FAIL]
