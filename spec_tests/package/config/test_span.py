"""How far back answers lie is what the rows of a task show, and a start of retention that fits it is written out."""

import math

import pytest
import torch

from atlas_ref.blocks.fast_memory import memory_rule
from atlas_ref.config import load_config, parse_config, to_toml
from atlas_ref.config.span import MOST_RETAINED, Span, retention_over
from atlas_ref.data.batch import IGNORED
from atlas_ref.errors import UserError
from atlas_ref.memory.rules import Gates, write_coefficients
from atlas_ref.tasks.registry import task_of

FITTED = "model.memory.gates.retention_init='span'"


@pytest.mark.parametrize("changes", [(), ("data.sequence_length=200", "data.recall.pairs=3", "data.recall.queries=2")])
def test_the_span_of_recall_is_that_of_its_rows(changes: tuple[str, ...]) -> None:
    """Kills: a span to the key, or from the end of the row; filler left out or counted twice."""
    config = load_config("recall", changes)
    task = task_of(config.data)
    source, found = task.source(config, None), set[int]()
    for step in range(12):
        batch = source.batch(step)
        for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
            for place, target in enumerate(targets):
                if target != IGNORED:
                    shown = tokens.index(tokens[place])
                    assert tokens[shown + 1] == target
                    found.add(place - (shown + 1))
    assert Span(min(found), max(found)) == task.span(config)


def test_the_span_of_an_episode_is_that_of_its_rows() -> None:
    """Kills: the length of a piece for that of a phase; a span to the question and not to its answer."""
    config = load_config("omega-micro", ["data.episodes.text_share=0.0", "model.vocab_size=100"])
    task = task_of(config.data)
    nearest, farthest = task.span(config)
    batch = task.source(config, None).batch(0)
    assert batch.episode is not None
    rows, places = (batch.episode.answer > 0).nonzero(as_tuple=True)
    assert nearest == farthest
    assert len(places) > 10
    assert (batch.tokens[rows, places - nearest] == batch.targets[rows, places]).all()


def test_the_span_of_a_text_is_its_context() -> None:
    """Kills: one batch for a context of several."""
    assert load_config("shakespeare-10m").data.span == Span(1, 4096)


@pytest.mark.parametrize("preset", ["recall", "tiny", "omega-micro", "recall+kda"])
def test_a_start_that_fits_keeps_half_to_the_farthest_answer_and_is_a_number_everywhere(preset: str) -> None:
    """Kills: a share over the nearest answer; a word that is stored and read again under other data."""
    config = load_config(preset, [FITTED])
    start, farthest = config.model.memory.gates.retention_init, config.data.span.farthest
    assert start**farthest >= 0.5 > (start - 2e-6) ** farthest
    assert f"retention_init = {start!r} " in to_toml(config)
    assert parse_config(config.model_dump(), "again") == config
    assert load_config(preset, [f"model.memory.gates.retention_init={start!r}"]) == config


def test_a_start_follows_the_span_up_to_where_a_gate_has_no_slope() -> None:
    """Kills: rounding down, which keeps less than half; a retention of one, whose logit is infinite."""
    assert retention_over(1) == 0.5
    assert retention_over(100, 0.25) == pytest.approx(0.25**0.01, abs=1e-6)
    assert retention_over(10**7) == MOST_RETAINED < 1.0
    assert all(retention_over(n) ** n >= 0.5 for n in (2, 97, 1000, 50_000))
    assert math.isfinite(math.log(MOST_RETAINED / (1.0 - MOST_RETAINED)))


CHUNKED = ("model.memory.gates.step_init='chunk'", "model.memory.gates.step_max='chunk'")
LITERAL = "model.memory.step_scale='literal'"


@pytest.mark.parametrize(
    ("changes", "weight"),
    [
        # 3 of a chunk and the 9 tokens of a momentum of 0.9; never more than a whole value.
        (("model.memory.chunk=64",), 3.0 / 73.0),
        (("model.memory.chunk=16", LITERAL), 3.0 / 25.0),
        (("model.memory.chunk=16", "model.memory.gates.momentum_max=0.8"), 3.0 / 20.0),
        (("model.memory.chunk=16", "model.memory.gates.momentum_kind='zero'"), 3.0 / 16.0),
        (("model.memory.chunk=16", "model.memory.rule='delta'"), 3.0 / 16.0),
        (("model.memory.chunk=2", "model.memory.rule='delta'"), 1.0),
        (("model.memory.chunk=2", "model.memory.rule='delta'", LITERAL), 1.0),
        (("model.memory.chunk=16", "model.memory.ttl_update_frequency=4"), 3.0 / 52.0),
    ],
)
def test_a_step_that_fits_is_a_share_of_chunk_and_momentum(changes: tuple[str, ...], weight: float) -> None:
    """Kills: a step that `mass` divides twice; the momentum of a rule that has none; more than a whole value."""
    config = load_config("recall", [*CHUNKED, *changes])
    memory = config.model.memory
    rule = memory_rule(memory)
    tokens = torch.zeros(1, 1, 1, dtype=torch.float64)
    start = Gates(tokens + 0.9, tokens + 0.0, tokens + memory.gates.step_init, tokens.unsqueeze(-1) + 1.0, None)
    written = write_coefficients(rule, start, torch.full((1, 1), 3))
    assert written.step.item() == pytest.approx(weight, abs=1e-6)
    assert memory.gates.step_max == pytest.approx(4.0 / 3.0 * memory.gates.step_init, abs=1e-5)
    assert f"step_init = {memory.gates.step_init!r} " in to_toml(config)
    assert parse_config(config.model_dump(), "again") == config


def test_a_word_for_a_step_needs_its_bound_and_a_memory_that_is_valid() -> None:
    """Kills: a bound that rises unsaid; a traceback out of the section that the step is of."""
    with pytest.raises(UserError, match=r"step_init is 3\.0; it must be less than .*step_max, which is 1\.0"):
        load_config("recall", CHUNKED[:1])
    with pytest.raises(UserError, match=r"model\.memory\.chunk"):
        load_config("recall", [*CHUNKED, "model.memory.chunk=0"])
    with pytest.raises(UserError, match=r"model\.memory\.gates\.step_init"):
        load_config("recall", ["model.memory.gates.step_init='span'"])


def test_data_that_have_no_span_say_what_is_wrong_with_them_and_another_word_is_refused() -> None:
    """Kills: a traceback out of the section that the span is of; any word taken for a span."""
    with pytest.raises(UserError, match=r"data\.sequence_length is 20; it must be at least 80"):
        load_config("recall", [FITTED, "data.sequence_length=20"])
    with pytest.raises(UserError, match=r"model\.memory\.gates\.retention_init"):
        load_config("recall", ["model.memory.gates.retention_init='spam'"])
