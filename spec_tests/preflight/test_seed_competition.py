"""Seed Competition fails every subject that is seeded without effect, and no arm wins by chance."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from atlas_ref.config import RunConfig, load_config
from atlas_ref.data.identity import NO_DATA
from atlas_ref.errors import UserError
from atlas_ref.models.atlas import AtlasModel, ModelState
from atlas_ref.storage.checkpoint import MODEL, OPTIMISER, STATE, Checkpoint, open_checkpoint, save_checkpoint
from atlas_ref.storage.switch_state import SwitchState
from preflight import seed_competition as gate
from preflight.controls.seeds import SEED_CONTROLS
from preflight.gates import GATES
from preflight.memory_contents import empty_memory
from preflight.recall import trained_probe
from preflight.result import GateResult, Verdict
from preflight.seed_competition import seed_competition
from preflight.subject import HEALTHY, Control
from spec_tests.package.micro.models import as_atlas
from spec_tests.preflight import micro
from spec_tests.preflight.micro import MICRO, micro_config
from spec_tests.sampling import sample

NOISE, EMPTY, CHANCE = "the seed beats noise", "the seed beats nothing", "noise does not beat noise"

BUDGET = replace(micro.BUDGET, probe_steps=48)
"""Healthy probes need 30 to 40 steps."""

RECALL = (
    *MICRO,
    "model.vocab_size=24",
    "data.sequence_length=24",
    "data.recall.pairs=4",
    "data.recall.queries=4",
    "data.recall.keys=8",
    "data.recall.values=8",
    "data.recall.gap=8",
)
"""A run of its own on short recall, which can be a donor."""


def verdicts(result: GateResult) -> dict[str, Verdict]:
    return {check.name: check.verdict for check in result.checks}


@pytest.mark.parametrize("control", sample(SEED_CONTROLS), ids=lambda control: control.subject.name)
def test_every_control_fails_against_noise_and_nothing_and_fails_the_gates_it_names(
    control: Control,
) -> None:
    config = micro_config(*control.overrides)
    result = GATES[control.gate](config, control.subject, 0, BUDGET)
    assert verdicts(result) == {NOISE: Verdict.FAIL, CHANCE: Verdict.PASS, EMPTY: Verdict.FAIL}
    for other in control.also:
        assert GATES[other](config, control.subject, 0, BUDGET).verdict is Verdict.FAIL


@pytest.mark.parametrize("seed", sample(range(2)))
def test_healthy_subjects_pass(seed: int) -> None:
    result = seed_competition(micro_config(), HEALTHY, seed, BUDGET)
    assert result.verdict is Verdict.PASS, [check.sentence for check in result.checks]


def test_a_seed_that_is_merely_harmless_does_not_win() -> None:
    model = AtlasModel(micro_config().model, 0)

    def emptied(state: ModelState) -> ModelState:
        return empty_memory(state, model.initial_state(len(state.layers[0].memory.memory.position)))

    found = verdicts(seed_competition(micro_config(), replace(HEALTHY, name="harmless", hand_over=emptied), 0, BUDGET))
    assert found[EMPTY] is Verdict.FAIL


def test_where_noise_can_win_the_gate_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "DRAWS", 1)
    monkeypatch.setattr(gate, "WORTH", 0.01)
    result = seed_competition(micro_config(), HEALTHY, 0, replace(BUDGET, batches=2))
    assert verdicts(result)[CHANCE] is Verdict.INCONCLUSIVE
    assert result.verdict is Verdict.INCONCLUSIVE


def test_the_better_of_two_random_arms_is_the_one_that_is_judged() -> None:
    for losses in (
        gate.Losses([0.0] * 4, [3.0, 3.1, 3.0, 3.1], [1.0, 1.1, 1.0, 1.2], [2.0] * 4),
        gate.Losses([0.0] * 4, [1.0, 1.1, 1.0, 1.2], [3.0, 3.1, 3.0, 3.1], [2.0] * 4),
    ):
        check = gate._noise_check(losses, 1.0)
        assert check.statistic == pytest.approx(1.975)
        assert check.verdict is Verdict.INCONCLUSIVE


def saved(config: RunConfig, model: AtlasModel, folder: Path) -> Checkpoint:
    state = model.initial_state(config.train.batch_size)
    tensors = {MODEL: dict(model.state_dict()), OPTIMISER: {}, STATE: state.to_tensors()}
    return open_checkpoint(save_checkpoint(folder, 1, config, None, NO_DATA, None, 0, SwitchState(), tensors))


def test_a_donor_that_has_learnt_the_task_wins_and_one_that_has_not_does_not(tmp_path: Path) -> None:
    config = load_config("recall", RECALL)
    _, trained = trained_probe(config, HEALTHY, 0, BUDGET)
    learnt = seed_competition(config, HEALTHY, 0, BUDGET, saved(config, as_atlas(trained.model), tmp_path / "learnt"))
    assert verdicts(learnt)[NOISE] is Verdict.PASS
    assert "donor" in learnt.evidence
    fresh = saved(config, AtlasModel(config.model, 0), tmp_path / "fresh")
    assert verdicts(seed_competition(config, HEALTHY, 0, BUDGET, fresh))[NOISE] is not Verdict.PASS


def test_a_donor_whose_seed_is_not_applied_fails(tmp_path: Path) -> None:
    config = load_config("recall", RECALL)
    _, trained = trained_probe(config, HEALTHY, 0, BUDGET)
    donor = saved(config, as_atlas(trained.model), tmp_path)
    ignored = next(control for control in SEED_CONTROLS if control.subject.name == "seeds ignored by the model")
    assert verdicts(seed_competition(config, ignored.subject, 0, BUDGET, donor))[NOISE] is Verdict.FAIL


def test_a_donor_of_another_model_is_refused(tmp_path: Path) -> None:
    config = load_config("recall", RECALL)
    other = load_config("recall", [*RECALL, "model.memory.rule='titans'"])
    with pytest.raises(UserError, match="the donor must be of the model"):
        seed_competition(config, HEALTHY, 0, BUDGET, saved(other, AtlasModel(other.model, 0), tmp_path))


def test_text_rows_are_cut_in_the_middle_and_the_first_half_reaches_the_second(tmp_path: Path) -> None:
    config = micro_config("data.context_batches=1")
    model = AtlasModel(config.model, 0)
    budget = replace(BUDGET, batches=2)
    arena = gate._donor_arena(config, HEALTHY, saved(config, model, tmp_path), budget)
    assert len(arena.batches) == 2
    for before, after in arena.batches:
        assert before.tokens.shape[1] == after.tokens.shape[1] == budget.sequence_length // 2
        assert torch.equal(before.targets[:, :-1], before.tokens[:, 1:])
        assert torch.equal(before.targets[:, -1], after.tokens[:, 0])
        assert not after.reset.any()
