"""Memory Ablation fails every subject whose memory is of no use, by the checks that are meant for it."""

import math
from dataclasses import replace

import pytest
import torch

from atlas_ref.config import ModelConfig
from atlas_ref.models.atlas import AtlasModel
from preflight.controls.ablation import ABLATION_CONTROLS
from preflight.controls.state import dropped
from preflight.gates import GATES
from preflight.memory_ablation import memory_ablation
from preflight.recall import WORTH
from preflight.result import GateResult, Verdict
from preflight.subject import HEALTHY, Budget, Control
from spec_tests.preflight import micro
from spec_tests.preflight.micro import micro_config
from spec_tests.sampling import sample

WITHIN, BETWEEN, TWIN = "memory helps within a call", "memory helps between calls", "memory beats its absence"

BUDGET = replace(micro.BUDGET, probe_steps=48)
"""Healthy probes need 30 to 40 steps."""

MEANT = {
    "memory output zeroed": {WITHIN, BETWEEN, TWIN},
    # It keeps which values a row holds, and its ablation is worse than guessing: only the twin tells.
    "memory output detached": {TWIN},
    "half-life of one token": {WITHIN, BETWEEN, TWIN},
    "memory never written": {WITHIN, BETWEEN, TWIN},
    "reads swapped between rows": {WITHIN, BETWEEN, TWIN},
}


def failed(result: GateResult) -> set[str]:
    return {check.name for check in result.checks if check.verdict is Verdict.FAIL}


@pytest.mark.parametrize("control", sample(ABLATION_CONTROLS), ids=lambda control: control.subject.name)
def test_every_control_fails_by_the_checks_meant_for_it_and_fails_the_gates_it_names(
    control: Control,
) -> None:
    config = micro_config(*control.overrides)
    result = GATES[control.gate](config, control.subject, 0, BUDGET)
    assert result.verdict is Verdict.FAIL
    assert failed(result) >= MEANT[control.subject.name]
    for other in control.also:
        assert GATES[other](config, control.subject, 0, BUDGET).verdict is Verdict.FAIL


def test_a_state_that_is_dropped_between_calls_leaves_what_happens_within_one() -> None:
    result = memory_ablation(micro_config(), replace(HEALTHY, name="dropped", hand_over=dropped), 0, BUDGET)
    assert failed(result) == {BETWEEN}


@pytest.mark.parametrize("seed", sample(range(2)))
def test_healthy_subjects_pass(seed: int) -> None:
    result = memory_ablation(micro_config(), HEALTHY, seed, BUDGET)
    assert result.verdict is Verdict.PASS, [check.sentence for check in result.checks]
    # What is known without measuring: no model without memory is better than guessing.
    assert result.evidence["loss_of_guessing"] == pytest.approx(math.log(8))
    for arm in ("twin", "unwritten", "unread", "emptied"):
        loss = result.evidence[f"loss_{arm}"]
        assert isinstance(loss, float)
        assert loss > math.log(8) - 0.1


def test_an_untrained_model_fails_because_its_memory_gains_nothing() -> None:
    untrained = Budget(probe_steps=0, batches=4, sequence_length=64, batch_size=4)
    result = memory_ablation(micro_config(), HEALTHY, 0, untrained)
    assert failed(result) == {WITHIN, BETWEEN, TWIN}


def test_one_batch_decides_nothing() -> None:
    result = memory_ablation(micro_config(), HEALTHY, 0, replace(BUDGET, batches=1))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert all(check.statistic > WORTH for check in result.checks)


def test_a_probe_that_breaks_off_fails_with_its_reason() -> None:
    def broken(config: ModelConfig, seed: int) -> AtlasModel:
        model = AtlasModel(config, seed)
        with torch.no_grad():
            model.embedding.weight[0] = torch.nan
        return model

    result = memory_ablation(micro_config(), replace(HEALTHY, name="broken", model=broken), 0, BUDGET)
    assert result.verdict is Verdict.FAIL
    assert failed(result) == {"the probe trains", WITHIN, BETWEEN, TWIN}
    assert "the loss is nan at step 1" in str(result.evidence["probe_failure"])


def test_the_same_seed_finds_the_same_numbers_whatever_was_drawn_before() -> None:
    short = replace(BUDGET, probe_steps=4, batches=2)
    first = memory_ablation(micro_config(), HEALTHY, 1, short)
    torch.rand(3)
    other = memory_ablation(micro_config(), HEALTHY, 2, short)
    same = memory_ablation(micro_config(), HEALTHY, 1, short)
    assert first.checks == same.checks
    assert first.checks != other.checks
