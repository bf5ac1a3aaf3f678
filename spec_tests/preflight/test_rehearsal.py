"""What answers follow is what loops over rows say; a run is rehearsed as it will be, to six tenths and no farther."""

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from atlas_ref.config import RunConfig
from atlas_ref.models.atlas import AtlasModel
from atlas_ref.models.family import Model
from atlas_ref.tasks.registry import task_of
from atlas_ref.training.run import new_run
from atlas_ref.training.step import train_step
from preflight.heard import Arms, arms
from preflight.proof_of_life import proof_of_life
from preflight.rehearsal import FLOOR, FOLLOWS, GROWS, KNOWN, follows, rehearsal_checks, rehearsed_steps
from preflight.remedies import changes_for
from preflight.result import Verdict
from preflight.subject import HEALTHY, Subject
from spec_tests.preflight.micro import REHEARSAL as BUDGET
from spec_tests.preflight.micro import micro_config, short_run

OLD = {"memory lasts to the answers", "writes are heard", "weights can move far enough"}


class Said(NamedTuple):
    logits: Tensor


class Told(Model):
    """A network of one line: how often each word stood in the row before its last 12 tokens, at all places alike."""

    def initial_state(self, batch: int) -> int:
        return batch

    def forward(self, tokens: Tensor, *_: Any) -> Any:
        counts = torch.nn.functional.one_hot(tokens[:, :-12], 136).sum(1).double()
        return Said(counts[:, None].expand(-1, tokens.shape[1], -1) + self.asked(tokens))

    def asked(self, tokens: Tensor) -> Tensor:
        return torch.zeros(*tokens.shape, 136, dtype=torch.float64)


class Recalled(Told):
    """The same, and what stood behind the last token that was this one."""

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.strength = strength

    def asked(self, tokens: Tensor) -> Tensor:
        said = super().asked(tokens)
        for row, words in enumerate(tokens.tolist()):
            for place, word in enumerate(words):
                if word in words[:6:2]:
                    said[row, place, words[words.index(word) + 1]] += self.strength
        return said


def asked_of(config: RunConfig) -> Arms:
    found = arms(config, task_of(config.data).source(config, None).batch(0))
    assert found is not None
    return found


def test_what_answers_follow_is_what_loops_over_rows_say() -> None:
    """Kills: a mean over all pairs, its own among them; the sign of either part; a share of the whole vocabulary."""
    config = short_run()
    asked, model = asked_of(config), AtlasModel(config.model, 0)
    found = []
    for batch in (asked.whole, asked.other):
        with torch.no_grad():
            logits = model(batch.tokens, model.initial_state(4), batch.reset).logits.double().numpy()
        rows = []
        for said, targets in zip(logits, batch.targets.numpy(), strict=True):
            places = np.flatnonzero(targets >= 0)
            own = np.mean([said[i, targets[i]] for i in places])
            rows.append(own - np.mean([said[i, targets[j]] for i in places for j in places if i != j]))
        found.append(np.mean(rows))
    assert abs(found[0] - found[1]) > 1e-5
    assert follows(model, asked) == pytest.approx(found[0] - found[1], abs=1e-6)


def test_values_without_their_keys_are_no_answers_that_follow() -> None:
    """Kills: the gain over another row, which such a memory has in full."""
    asked = asked_of(short_run())
    assert follows(Told(), asked) == pytest.approx(0.0, abs=1e-12)
    assert follows(Recalled(0.1), asked) > 0.05


@pytest.mark.parametrize(
    ("overrides", "steps"),
    [((), 10), (("train.max_steps=15",), 9), (("train.max_steps=17",), None), (("train.max_steps=9",), 6)],
)
def test_six_tenths_of_the_steps_are_rehearsed_of_a_run_of_two_probes(
    overrides: tuple[str, ...], steps: int | None
) -> None:
    """Kills: a run of a day that is rehearsed for most of one; a probe's number of steps in place of the run's."""
    assert rehearsed_steps(short_run(*overrides), BUDGET) == steps


def test_a_text_is_not_rehearsed() -> None:
    """Kills: a text that is asked for what nothing is known to ask for."""
    assert rehearsed_steps(micro_config("train.max_steps=16", "optim.warmup_steps=2"), BUDGET) is None


def test_rows_with_one_question_leave_nothing_to_hold_an_answer_against() -> None:
    """Kills: a mean of nothing, which is not a number and fails."""
    assert rehearsal_checks(short_run("data.recall.queries=1"), HEALTHY, 0, BUDGET) == []


def test_a_rehearsal_is_the_run_itself_to_six_tenths_of_its_steps() -> None:
    """Kills: another seed, schedule or batch than the run's; a step more or less; rows of the budget."""
    made = []

    def model(section: Any, seed: int) -> Model:
        made.append(AtlasModel(section, seed))
        return made[-1]

    config = short_run("train.seed=3", "data.reset_memory_per_sequence=false")
    (check,) = rehearsal_checks(config, Subject("kept", model, HEALTHY.optimiser, HEALTHY.hand_over), 3, BUDGET)
    run, source = new_run(config, torch.device("cpu")), task_of(config.data).source(config, None)
    for step in range(10):
        run.state = train_step(run.network, run.optimiser, source.batch(step), run.state, step, config).output.state
    for name, parameter in run.model.named_parameters():
        assert torch.equal(parameter, dict(made[0].named_parameters())[name]), name
    assert check.verdict is not Verdict.PASS
    assert check.sentence.startswith("after 10 of 16 steps")


def _told(seen: list[Tensor], asked: Arms) -> float:
    seen.append(asked.whole.tokens)
    return 0.0


def test_a_rehearsal_is_judged_by_rows_that_it_does_not_train_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: an answer that is known by heart; other rows at each look, whose difference would count as growth."""
    seen: list[Tensor] = []
    monkeypatch.setattr("preflight.rehearsal.follows", lambda _, asked: _told(seen, asked))
    rehearsal_checks(short_run(), HEALTHY, 0, BUDGET)
    source = task_of(short_run().data).source(short_run(), None)
    assert len(seen) == 3 * BUDGET.batches
    for look in range(3):
        for number in range(BUDGET.batches):
            assert torch.equal(seen[look * BUDGET.batches + number], source.batch(10 + number).tokens)


@pytest.mark.parametrize(
    ("found", "growth", "steps"),
    [
        # Nats after 5, 8 and 10 of 10 steps; a look that passes is the last one.
        ([0.001, 0.0012, 0.00251], 2.51, 10),
        ([0.001, 0.0012, 0.00249], 2.49, 10),
        ([0.001, 0.0026, 0.0001], 2.6, 8),
        ([2.51 * KNOWN], 2.51, 5),
        ([0.9 * KNOWN, KNOWN, 1.5 * KNOWN], 1.5 / 0.9, 10),
        ([1.1 * KNOWN, 1.2 * KNOWN, 2.4 * KNOWN], 2.4, 10),
        ([-0.1, 0.9 * FLOOR, 2.4 * FLOOR], 2.4, 10),
        ([0.1 * FLOOR, 0.9 * FLOOR, 2.6 * FLOOR], 2.6, 10),
        ([0.01, 0.005, -0.01], -1.0, 10),
    ],
)
def test_what_answers_follow_must_grow_from_the_middle_of_the_rehearsal_on(
    monkeypatch: pytest.MonkeyPatch, found: list[float], growth: float, steps: int
) -> None:
    """Kills: a share that is asked to be large; one that is noise, or all there is, asked to grow; a look that passes
    and is not the last; growth from look to look.
    """
    looked = [each for each in found for _ in range(4)]
    monkeypatch.setattr("preflight.rehearsal.follows", lambda *_: looked.pop(0))
    (check,) = rehearsal_checks(short_run(), HEALTHY, 0, BUDGET)
    assert check.statistic == pytest.approx(growth)
    assert check.threshold == GROWS
    assert check.verdict is (Verdict.PASS if growth > GROWS else Verdict.FAIL)
    assert check.sentence.startswith(f"after {steps} of 16 steps")


def test_a_rehearsal_that_breaks_off_fails_with_its_reason() -> None:
    """Kills: a traceback; a run that is judged by what came before."""

    def broken(section: Any, seed: int) -> Model:
        model = AtlasModel(section, seed)
        torch.nn.init.constant_(next(model.parameters()), math.nan)
        return model

    (check,) = rehearsal_checks(short_run(), Subject("nan", broken, HEALTHY.optimiser, HEALTHY.hand_over), 0, BUDGET)
    assert check.verdict is Verdict.FAIL
    assert "the rehearsal failed" in check.sentence


@pytest.mark.parametrize(
    ("overrides", "first"),
    [
        (("model.inner_grad='detached'",), "model.inner_grad='full'"),
        (("model.memory.gates.retention_init=0.9",), "model.memory.gates.retention_init=0.98"),
        (("model.memory.qk_projection.kind='tnt'",), "model.memory.qk_projection.kind='none'"),
        ((), "optim.learning_rate=0.0"),
        (("train.max_steps=100", "optim.learning_rate=0.01"), "model.memory.gates.step_init="),
    ],
)
def test_what_is_not_followed_names_what_is_likeliest_to_blame(overrides: tuple[str, ...], first: str) -> None:
    """Kills: one cause that is blamed for all; a rate for a run that goes far."""
    config = short_run("model.memory.gates.retention_init=0.999", *overrides)
    assert next(changes_for(config, FOLLOWS, 0.0, GROWS))[0].startswith(first)


@pytest.mark.parametrize(("steps", "rehearsed"), [(16, True), (18, False)])
def test_a_rehearsal_stands_for_what_is_kept_heard_and_moved(steps: int, rehearsed: bool) -> None:
    """Kills: thresholds that overrule what the run itself shows; a long run of which nothing is asked."""
    result = proof_of_life(short_run(f"train.max_steps={steps}"), HEALTHY, 0, BUDGET)
    names = {check.name for check in result.checks}
    assert (FOLLOWS in names, names >= OLD, names.isdisjoint(OLD)) == (rehearsed, not rehearsed, rehearsed)
    assert isinstance(result.evidence["echo"], float)
