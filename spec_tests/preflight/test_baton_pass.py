"""Baton Pass fails every subject that loses, swaps or leaks state, and passes none whose state is worth nothing."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from atlas_ref.blocks.timeline import Marks
from atlas_ref.models.atlas import AtlasModel, ModelOutput, ModelState
from atlas_ref.storage import checkpoint
from preflight import boundaries
from preflight.baton_pass import baton_pass
from preflight.controls.state import STATE_CONTROLS
from preflight.gates import GATES
from preflight.result import GateResult, Verdict
from preflight.subject import HEALTHY, Budget, Control, Subject
from spec_tests.preflight.micro import BUDGET, micro_config
from spec_tests.sampling import sample

SHORT = Budget(probe_steps=4, batches=3, sequence_length=32, batch_size=4)
UNTRAINED = Budget(probe_steps=0, batches=4, sequence_length=32, batch_size=4)

CUT, SAVED, ROWS, COST = (
    "a cut changes nothing",
    "a checkpoint changes nothing",
    "rows keep their own state",
    "a boundary costs nothing",
)
RESET, FUTURE = "a reset is a fresh start", "the future is unknown"

MEANT = {
    "state dropped at boundaries": {CUT, SAVED, COST},
    "rows swapped at boundaries": {CUT, SAVED, ROWS, COST},
    "momentum dropped at boundaries": {CUT, SAVED},
    "state handed over in bf16": {CUT, SAVED},
    "one state for all rows": {CUT, SAVED, ROWS, COST},
    "reset of one row resets all": {RESET},
    "reset ignored": {RESET},
    # Each call can only see the future inside itself, so a cut changes what leaks.
    "future leak": {CUT, SAVED, FUTURE},
}


def failed(result: GateResult) -> set[str]:
    return {check.name for check in result.checks if check.verdict is Verdict.FAIL}


@pytest.mark.parametrize("control", STATE_CONTROLS, ids=lambda control: control.subject.name)
def test_every_control_fails_its_gate_by_the_checks_that_are_meant_for_it(control: Control) -> None:
    meant = MEANT[control.subject.name]
    # What is exact needs no training; what is measured by its loss does.
    budget = BUDGET if COST in meant else UNTRAINED
    result = GATES[control.gate](micro_config(*control.overrides), control.subject, 0, budget)
    assert result.verdict is Verdict.FAIL
    assert failed(result) == meant


@pytest.mark.parametrize(
    ("control", "gate"),
    sample((control, gate) for control in STATE_CONTROLS for gate in control.also),
    ids=lambda value: value if isinstance(value, str) else value.subject.name,
)
def test_the_other_gates_that_are_named_fail_it_too(control: Control, gate: str) -> None:
    assert GATES[gate](micro_config(*control.overrides), control.subject, 0, BUDGET).verdict is Verdict.FAIL


@pytest.mark.parametrize("seed", sample(range(2)))
def test_healthy_subjects_pass(seed: int) -> None:
    result = baton_pass(micro_config(), HEALTHY, seed, BUDGET)
    assert result.verdict is Verdict.PASS, [check.sentence for check in result.checks]


def test_an_untrained_model_has_a_flat_loss_and_the_gate_says_that_it_has_no_power() -> None:
    result = baton_pass(micro_config(), HEALTHY, 0, UNTRAINED)
    assert result.verdict is Verdict.INCONCLUSIVE
    unsure = [check.name for check in result.checks if check.verdict is not Verdict.PASS]
    assert unsure == ["state is worth something"]


def test_a_model_whose_state_is_worthless_is_not_passed() -> None:
    class Forgetful(AtlasModel):
        def forward(
            self,
            tokens: Int[Tensor, "batch time"],
            state: ModelState,
            reset: Bool[Tensor, "batch time"] | Marks | None,
            outer_step: int | None = None,
            penalised: bool = False,
            measured: bool = True,
        ) -> ModelOutput:
            return super().forward(
                tokens, state, torch.ones_like(tokens, dtype=torch.bool), outer_step, penalised, measured
            )

    result = baton_pass(micro_config(), Subject("forgetful", Forgetful, HEALTHY.optimiser, HEALTHY.hand_over), 0, SHORT)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert {check.name for check in result.checks if check.verdict is Verdict.INCONCLUSIVE} == {
        "state shows in the logits",
        "state is worth something",
    }


def test_a_probe_that_diverges_fails_with_its_reason_and_without_a_traceback() -> None:
    class Broken(AtlasModel):
        def forward(
            self,
            tokens: Int[Tensor, "batch time"],
            state: ModelState,
            reset: Bool[Tensor, "batch time"] | Marks | None,
            outer_step: int | None = None,
            penalised: bool = False,
            measured: bool = True,
        ) -> ModelOutput:
            output = super().forward(tokens, state, reset, outer_step, penalised, measured)
            return output._replace(logits=output.logits * float("nan"))

    result = baton_pass(micro_config(), Subject("broken", Broken, HEALTHY.optimiser, HEALTHY.hand_over), 0, BUDGET)
    assert result.verdict is Verdict.FAIL
    assert "the loss is nan at step 1" in str(result.evidence["probe_failure"])
    assert GateResult.model_validate_json(result.model_dump_json()).evidence == result.evidence


def test_a_checkpoint_that_rounds_the_state_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    save: Callable[..., Any] = checkpoint.save_checkpoint

    def rounding(*arguments: Any) -> Any:
        *others, tensors = arguments
        coarse = {
            file: {n: t.bfloat16().to(t.dtype) if t.is_floating_point() else t for n, t in held.items()}
            for file, held in tensors.items()
        }
        return save(*others, coarse)

    monkeypatch.setattr(boundaries, "save_checkpoint", rounding)
    assert failed(baton_pass(micro_config(), HEALTHY, 0, UNTRAINED)) == {SAVED}


def test_the_same_seed_finds_the_same_numbers() -> None:
    one, same, other = (baton_pass(micro_config(), HEALTHY, seed, SHORT) for seed in (1, 1, 2))
    assert one.checks == same.checks
    assert one.checks != other.checks
