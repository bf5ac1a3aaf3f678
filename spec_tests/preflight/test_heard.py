"""What is kept, heard and moved is what closed forms and a network of one line say; a shortfall names what mends it."""

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
from atlas_ref.training.schedule import learning_rate
from preflight.heard import LEAST_KEPT, LEAST_TRAVEL, echo, echo_checks, kept_checks, travel_check
from preflight.recall import PAIRS, plan_probe
from preflight.remedies import changes_for
from preflight.result import Verdict
from preflight.subject import Budget
from preflight.travel import travel
from spec_tests.preflight.micro import micro_config, recall_config


def half_life(retention: float) -> float:
    return math.log(0.5) / math.log(retention)


def test_what_is_kept_is_the_retention_to_the_power_of_the_way_to_the_nearest_answer() -> None:
    """Kills: the way to the farthest answer, or of the whole row; a half-life taken for a rate."""
    (check,) = kept_checks(recall_config(), [half_life(0.97), half_life(0.99)])
    # 64 tokens are 6 of pairs, 52 of filler and 6 of queries.
    assert check.statistic == pytest.approx((0.97**53 + 0.99**53) / 2)
    assert check.threshold == LEAST_KEPT


def test_nothing_is_kept_behind_the_border_of_a_shard() -> None:
    """Kills: shards that are overlooked; retention blamed where no retention helps."""
    (check,) = kept_checks(recall_config("model.memory.shards.length=48"), [1e4, 1e4])
    assert (check.statistic, check.verdict) == (0.0, Verdict.FAIL)
    assert "try model.memory.shards.length = 0" in check.sentence
    (check,) = kept_checks(recall_config("model.memory.shards.length=56"), [1e4, 1e4])
    assert check.verdict is Verdict.PASS


def test_a_text_is_asked_for_no_span() -> None:
    """Kills: a context of thousands of tokens that each head would have to keep."""
    assert kept_checks(micro_config(), [10.0, 10.0]) == []


@pytest.mark.parametrize("kind", ["learned", "retnet"])
def test_a_shortfall_names_a_field_and_a_value_that_passes(kind: str) -> None:
    """Kills: a field that is not to blame; a value that fails too; a start that a constant gate never reads."""
    short = recall_config("model.memory.gates.retention_init=0.9", f"model.memory.gates.retention_kind='{kind}'")
    (check,) = kept_checks(short, [half_life(0.9)] * 2)
    assert check.verdict is Verdict.FAIL
    change = next(changes_for(short, check.name, check.statistic, check.threshold))
    assert all(each.replace("=", " = ") in check.sentence for each in change)
    mended = recall_config(
        "model.memory.gates.retention_init=0.9", f"model.memory.gates.retention_kind='{kind}'", *change
    )
    gates = mended.model.memory.gates
    assert gates.retention_kind == "learned"
    (check,) = kept_checks(mended, [half_life(gates.retention_init)] * 2)
    assert check.verdict is Verdict.PASS
    assert "try" not in check.sentence


class Said(NamedTuple):
    logits: Tensor


class MeanOfTokens(Model):
    """A network of one line: its logits are the mean of what the last `sight` tokens say; 0: of all."""

    def __init__(self, sight: int) -> None:
        super().__init__()
        self.words = torch.randn(136, 11, generator=torch.Generator().manual_seed(0))
        self.sight = sight

    def initial_state(self, batch: int) -> int:
        return batch

    def forward(self, tokens: Tensor, *_: Any) -> Any:
        said = self.words[tokens].cumsum(1)
        if self.sight:
            said = said - torch.nn.functional.pad(said, (0, 0, self.sight, 0))[:, : said.shape[1]]
        return Said(said)


def batch_of(config: RunConfig) -> Any:
    return task_of(config.data).source(config, None).batch(0)


def test_the_echo_is_the_share_of_what_is_said_that_comes_from_out_of_sight() -> None:
    """Kills: an echo over all places; of logits with their mean; a cut that leaves a pair where it was."""
    config = recall_config()
    batch, model = batch_of(config), MeanOfTokens(0)
    tokens, words = batch.tokens.numpy(), model.words.double().numpy()
    other = np.concatenate([np.roll(tokens[:, :6], 1, 0), tokens[:, 6:]], 1)
    said, otherwise = (words[rows].cumsum(1)[:, 58::2].reshape(-1, 11) for rows in (tokens, other))
    said, otherwise = (rows - rows.mean(-1, keepdims=True) for rows in (said, otherwise))
    expected = np.sqrt(((said - otherwise) ** 2).mean()) / np.sqrt((said**2).mean())
    assert echo(config, model, batch) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("overrides", [(), ("model.n_layers=2", "model.attention.window=3", "data.sequence_length=72")])
def test_a_model_without_memory_hears_nothing_from_out_of_sight(overrides: tuple[str, ...]) -> None:
    """Kills: a place at which attention sees a token that was exchanged; for text as for recall."""
    for config in (recall_config(*overrides), micro_config(*overrides)):
        batch, section = batch_of(config), config.model
        silent = AtlasModel(section.model_copy(update={"disable_memory": True}), 0)
        assert echo(config, silent, batch) == 0.0
        heard = echo(config, AtlasModel(section, 0), batch)
        assert heard is not None
        assert heard > 1e-4


def test_what_is_not_heard_fails_and_a_text_is_only_told() -> None:
    """Kills: an echo that decides for a text, where nothing is known to be asked for from so far."""
    config = recall_config()
    checks, heard = echo_checks(config, MeanOfTokens(9), [batch_of(config)] * 2)
    assert [check.verdict for check in checks] == [Verdict.FAIL]
    assert heard == pytest.approx(0.0, abs=1e-5)
    text = micro_config()
    checks, heard = echo_checks(text, AtlasModel(text.model, 0), [batch_of(text)] * 2)
    assert checks == []
    assert heard is not None


@pytest.mark.parametrize(
    ("overrides", "least"),
    [
        ((), 0.05),
        (("model.block='lmm'",), 0.05),
        (("model.block='mal'",), 0.1),
        (("model.block='mac'", "model.mac.segment=8"), 0.2),
        (("model.memory.qk_projection.kind='tnt'",), 0.2),
        (("model.block='mal'", "model.memory.qk_projection.kind='frobenius_tanh'"), 0.2),
    ],
)
def test_what_is_brought_through_attention_or_a_projection_must_be_heard_better(
    monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...], least: float
) -> None:
    """Kills: one threshold for what a network has yet to let pass and for a memory beside it; one kind left out."""
    config = recall_config(*overrides)
    for heard, expected in ((1.01 * least, "PASS"), (0.99 * least, "FAIL")):
        monkeypatch.setattr("preflight.heard.echo", lambda *_, heard=heard: heard)
        ((check,), _) = echo_checks(config, MeanOfTokens(9), [batch_of(config)] * 2)
        assert check.verdict == expected


def test_steps_that_are_not_heard_are_mended_by_those_that_fit_the_chunk() -> None:
    """Kills: a start above its bound; a larger step that is heard less."""
    short = recall_config("model.memory.gates.step_init=0.05")
    ((check,), before) = echo_checks(short, AtlasModel(short.model, 0), [batch_of(short)] * 2)
    assert check.verdict is Verdict.FAIL
    change = next(changes_for(short, check.name, check.statistic, check.threshold))
    mended = recall_config(*change)
    _, after = echo_checks(mended, AtlasModel(mended.model, 0), [batch_of(mended)] * 2)
    assert before is not None
    assert after is not None
    assert after > 4.0 * before
    assert list(changes_for(mended, check.name, 0.01, check.threshold))[:1] != [change]


@pytest.mark.parametrize("overrides", ["model.memory.qk_projection.kind='tnt'", "model.block='mal'"])
def test_what_is_in_the_way_of_the_memory_is_a_change_that_passes(overrides: str) -> None:
    """Kills: steps alone tried where a projection or attention behind the memory asks for more than they can give."""
    field = overrides.partition("=")[0]
    short = recall_config(overrides)
    ((check,), _) = echo_checks(short, AtlasModel(short.model, 0), [batch_of(short)] * 2)
    assert check.verdict is Verdict.FAIL
    (change,) = [c for c in changes_for(short, check.name, check.statistic, check.threshold) if c[0].startswith(field)]
    mended = recall_config(overrides, *change)
    ((check,), _) = echo_checks(mended, AtlasModel(mended.model, 0), [batch_of(mended)] * 2)
    assert check.verdict is Verdict.PASS


def test_rows_that_are_too_short_have_no_echo() -> None:
    """Kills: a cut before the first token."""
    config = micro_config("data.sequence_length=6")
    assert echo_checks(config, AtlasModel(config.model, 0), [batch_of(config)]) == ([], None)


@pytest.mark.parametrize("schedule", ["cosine", "constant", "wsd"])
def test_the_travel_is_the_sum_of_all_learning_rates_in_spreads(schedule: str) -> None:
    """Kills: the peak for the mean; a schedule left out; a long run that is summed at its first steps."""
    config = micro_config(f"optim.schedule='{schedule}'", "train.max_steps=357", "optim.warmup_steps=31")
    rates = [learning_rate(step, config) for step in range(357)]
    assert travel(config) == pytest.approx(sum(rates) / config.model.init_std)
    long = micro_config(f"optim.schedule='{schedule}'", "train.max_steps=20000", "optim.warmup_steps=310")
    rates = [learning_rate(step, long) for step in range(20000)]
    assert travel(long) == pytest.approx(sum(rates) / long.model.init_std, rel=1e-3)


SLOW = ("train.max_steps=40", "optim.learning_rate=0.0008", "optim.warmup_steps=8")


@pytest.mark.parametrize("heard", [None, 0.01, 0.08])
def test_a_run_that_cannot_go_far_names_a_rate_and_a_number_of_steps_that_pass(heard: float | None) -> None:
    """Kills: a rate that is too small by the part of the schedule that does not grow with it, or for what is heard."""
    slow = recall_config(*SLOW)
    check = travel_check(slow, heard)
    assert check.verdict is Verdict.FAIL
    changes = list(changes_for(slow, check.name, check.statistic, check.threshold))
    assert [change[0].partition("=")[0] for change in changes] == ["optim.learning_rate", "train.max_steps"]
    assert all(each.replace("=", " = ") in check.sentence for each in changes[0])
    for change in changes:
        check = travel_check(recall_config(*SLOW, *change), heard)
        assert check.verdict is Verdict.PASS
        assert "try" not in check.sentence


@pytest.mark.parametrize(("overrides", "least"), [((), 0.05), (("model.block='mal'",), 0.1)])
def test_what_is_heard_better_asks_for_less_travel(overrides: tuple[str, ...], least: float) -> None:
    """Kills: the echo left out; less asked for what has to be learned to be let pass; a rate for what is not heard."""
    config = recall_config(*overrides)
    for heard, asked in ((least, 3.4), (2.0 * least, 1.7), (0.1 * least, 3.4), (math.nan, 3.4)):
        assert travel_check(config, heard).threshold == pytest.approx(asked)


def test_a_run_without_an_echo_that_decides_must_go_as_far_as_any() -> None:
    """Kills: an echo that decides for a text; a network without a memory that is asked for nothing."""
    assert travel_check(recall_config(), None).threshold == LEAST_TRAVEL
    assert travel_check(micro_config(), 0.5).threshold == LEAST_TRAVEL


@pytest.mark.parametrize(("length", "scaled"), [(64, False), (200, True)])
def test_a_probe_asks_as_far_back_as_the_task_or_forgets_as_much(length: int, scaled: bool) -> None:
    """Kills: a probe at its own distance; a shorter one that keeps more than the run will."""
    config = recall_config(f"data.sequence_length={length}", "model.memory.gates.retention_init=0.99")
    probe = plan_probe(config, 0, Budget(probe_steps=1, batches=1, sequence_length=128, batch_size=2))
    distance, asked = probe.config.data.recall.gap + 1, config.data.span.nearest
    kept = probe.config.model.memory.gates.retention_init**distance
    assert kept == pytest.approx(0.99**asked)
    assert (distance < asked, "memory.gates.retention_init" in probe.reduced) == (scaled, scaled)
    assert probe.batch(0).tokens.shape[1] <= 128
    tokens = probe.batch(0).tokens[0].tolist()
    last_shown = max(place for place in range(probe.asked) if tokens[place] < 2 * PAIRS)
    assert probe.asked - last_shown >= distance - 1
