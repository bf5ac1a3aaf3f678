"""The rows of the probe cannot be answered without memory, and states with other memories differ in nothing else."""

import math
from typing import Any, NamedTuple

import pytest
import torch

from atlas_ref.config import load_config
from atlas_ref.data.batch import IGNORED, Batch
from atlas_ref.errors import UserError
from atlas_ref.models.atlas import AtlasModel, ModelState
from atlas_ref.training.clipping import NonFiniteError
from atlas_ref.training.step import train_step
from preflight import recall
from preflight.memory_contents import empty_memory, random_memory
from preflight.recall import (
    BEGUN,
    PAIRS,
    SYMBOLS,
    WORTH,
    Probe,
    Trained,
    describe,
    plan_probe,
    probe_model,
    trained_probe,
    trained_twin,
)
from preflight.subject import HEALTHY, Budget
from spec_tests.preflight.micro import BUDGET, micro_config
from spec_tests.sampling import sample

MEMORY = ("weights", "momentum", "anchor", "window_keys", "window_values")


def micro_probe() -> Probe:
    return plan_probe(micro_config("model.memory.omega_window=3"), 0, BUDGET)


def rows_of(batch: Batch) -> list[tuple[list[int], list[int]]]:
    return list(zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True))


def test_every_answer_stands_behind_its_key_and_nowhere_within_reach() -> None:
    probe = micro_probe()
    for tokens, targets in rows_of(probe.batch(3)):
        asked = [place for place, target in enumerate(targets) if target != IGNORED]
        assert len(asked) == PAIRS
        assert asked[0] == probe.asked
        for place in asked:
            shown = [at for at in range(probe.asked) if tokens[at] == tokens[place]]
            assert len(shown) == probe.repeats
            assert {tokens[at + 1] for at in shown} == {targets[place]}
            # From the query to the value behind the last showing of its key, the nearest place that tells.
            assert place - (max(shown) + 1) > probe.config.model.reach


def test_no_row_comes_twice_and_each_is_one_document() -> None:
    probe = micro_probe()
    first, second = probe.batch(0), probe.batch(1)
    rows = {tuple(row) for batch in (first, second) for row in batch.tokens.tolist()}
    assert len(rows) == 2 * BUDGET.batch_size
    assert first.reset[:, 0].all()
    assert not first.reset[:, 1:].any()


def test_values_without_keys_are_worth_less_than_what_is_asked() -> None:
    probe = micro_probe()
    losses = []
    for step in range(50):
        for tokens, targets in rows_of(probe.batch(step)):
            values = tokens[1 : 2 * PAIRS : 2]
            losses += [-math.log(values.count(target) / PAIRS) for target in targets if target != IGNORED]
    gain = math.log(SYMBOLS) - sum(losses) / len(losses)
    assert 0.5 < gain < WORTH - 0.3


def test_pairs_fill_a_chunk_so_that_queries_have_another_anchor() -> None:
    probe = plan_probe(load_config("tiny"), 0, Budget(probe_steps=1, batches=1, sequence_length=256, batch_size=2))
    assert probe.asked >= probe.config.model.memory.chunk


@pytest.mark.parametrize(("length", "crosses"), [(0, False), (64, True), (1024, False)])
def test_shards_stay_as_they_are_and_the_evidence_says_where_a_row_is_longer(length: int, crosses: bool) -> None:
    config = load_config("tiny", [f"model.memory.shards.length={length}"])
    probe = plan_probe(config, 0, Budget(probe_steps=1, batches=1, sequence_length=256, batch_size=2))
    assert probe.config.model.memory.shards == config.model.memory.shards
    trained = Trained(AtlasModel(probe.config.model, 0), 0.0, 0, None)
    assert describe(probe, trained)["probe_crosses_a_shard"] is crosses


def test_a_small_model_is_probed_as_it_is() -> None:
    config = load_config("tiny").model
    assert probe_model(config) == (config, {})


def test_a_large_model_is_probed_by_a_smaller_one_with_its_memory_and_every_change_is_named() -> None:
    config = load_config("atlas-340m").model
    small, reduced = probe_model(config)
    assert small.memory == config.memory
    assert small.gate == config.gate
    assert small.d_model == small.n_heads * config.memory.value_dim
    changed = {name for name in ("n_layers", "n_heads", "d_model", "feed_forward_dim") if name in reduced}
    assert changed == {"n_layers", "n_heads", "d_model", "feed_forward_dim"}
    assert reduced["n_layers"] == "2 in place of 24"
    assert reduced["attention.window"] == "16 in place of 512"


def test_a_budget_without_room_for_a_row_is_refused_with_the_length_that_is_needed() -> None:
    config = micro_config()
    needed = config.model.reach + 4 * PAIRS
    short = Budget(probe_steps=1, batches=1, sequence_length=needed - 1, batch_size=2)
    with pytest.raises(UserError, match=f"at least {needed}"):
        plan_probe(config, 0, short)
    enough = Budget(probe_steps=1, batches=1, sequence_length=needed, batch_size=2)
    assert plan_probe(config, 0, enough).batch(0).tokens.shape[1] == needed


def written_state() -> tuple[ModelState, ModelState]:
    probe = micro_probe()
    model = AtlasModel(probe.config.model, 0)
    batch = probe.batch(0)
    fresh = model.initial_state(len(batch.tokens))
    with torch.no_grad():
        state: ModelState = model(batch.tokens[:, :13], fresh, batch.reset[:, :13]).state
    return state, fresh


def is_memory(name: str) -> bool:
    return ".memory.memory." in name and any(f".{part}" in name for part in MEMORY)


def test_other_memories_leave_everything_around_them_alone() -> None:
    state, fresh = written_state()
    for other in (empty_memory(state, fresh), random_memory(state, torch.Generator().manual_seed(0))):
        tensors = other.to_tensors()
        for name, tensor in state.to_tensors().items():
            assert torch.equal(tensors[name], tensor) == (not is_memory(name)), name


def test_an_empty_memory_is_that_of_a_fresh_state() -> None:
    state, fresh = written_state()
    found, expected = empty_memory(state, fresh).to_tensors(), fresh.to_tensors()
    assert all(torch.equal(found[name], expected[name]) for name in found if is_memory(name))


def test_random_memories_have_the_norms_of_what_they_replace_and_other_directions() -> None:
    state, _ = written_state()
    found = random_memory(state, torch.Generator().manual_seed(0)).to_tensors()
    for name, old in state.to_tensors().items():
        if is_memory(name):
            axes = (-1,) if "window" in name else (-2, -1)
            norm, expected = (torch.linalg.vector_norm(x, dim=axes) for x in (found[name], old))
            torch.testing.assert_close(norm, expected)
            assert torch.nn.functional.cosine_similarity(found[name].flatten(), old.flatten(), dim=0).abs() < 0.3, name


def test_random_memories_come_from_their_generator_alone() -> None:
    state, _ = written_state()
    first, again, other = (
        random_memory(state, torch.Generator().manual_seed(seed)).layers[0].memory.memory.weights[0]
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("rows", "steps"), sample([(2, 32), (8, 8), (32, 8), (1, 64)], kept=3))
def test_training_ends_when_enough_answers_are_right_however_few_are_in_a_batch(
    rows: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a probe of two rows that ends at a lucky streak, half trained (one seed of `tiny` in twenty); one that
    never ends before its last step.
    """
    monkeypatch.setattr(recall, "train_step", lambda *arguments: train_step(*arguments)._replace(loss=0.0))
    budget = Budget(probe_steps=70, batches=1, sequence_length=64, batch_size=rows)
    _, trained = trained_probe(micro_config("data.sequence_length=63"), HEALTHY, 0, budget)
    assert (trained.steps, trained.loss) == (steps, 0.0)


class Step(NamedTuple):
    loss: float


@pytest.mark.parametrize(
    ("gain", "steps"),
    [(0.9 * BEGUN, 20), (1.1 * BEGUN, 40), (0.9 * WORTH, 40), (1.1 * WORTH, 20), (-0.5, 20)],
)
def test_a_probe_under_way_at_its_last_step_is_trained_anew_with_twice_as_many(
    gain: float, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a memory that is refused for the length of its probe; one of no use, or one that has passed, that is
    trained for longer; a twin of fewer steps; rows that were trained on taken for held out ones.
    """
    taken = []

    def train(*arguments: Any) -> Step:
        taken.append(arguments[2].tokens)
        return Step(math.log(SYMBOLS) - gain)

    monkeypatch.setattr(recall, "train_step", train)
    # What is trained is kept by its seed, so that each has one that no other test asks for.
    config, seed = micro_config(), 1000 + round(100 * gain)
    budget = Budget(probe_steps=20, batches=1, sequence_length=64, batch_size=8)
    probe, trained = trained_probe(config, HEALTHY, seed, budget)
    assert trained.steps == probe.config.train.max_steps == steps
    assert trained_twin(config, HEALTHY, seed, budget).steps == steps
    assert all(not torch.equal(probe.held_out(0).tokens, tokens) for tokens in taken)
    assert torch.equal(probe.held_out(2).tokens, probe.batch(steps + 2).tokens)


def test_a_probe_that_breaks_off_is_not_trained_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a failure that is tried again until it does not come."""
    taken = []

    def train(*arguments: Any) -> Step:
        taken.append(arguments[4])
        if len(taken) > 10:
            raise NonFiniteError(10, "loss", "the batch", math.nan)
        return Step(math.log(SYMBOLS) - 0.5)

    monkeypatch.setattr(recall, "train_step", train)
    budget = Budget(probe_steps=20, batches=1, sequence_length=64, batch_size=8)
    _, trained = trained_probe(micro_config(), HEALTHY, 999, budget)
    assert (trained.steps, len(taken)) == (10, 11)
    assert trained.failure is not None
