"""Arithmetic modulo p: every pair is on one side, for every seed of training the same, and each is judged once."""

from collections import Counter

import pytest

from atlas_ref.data.arithmetic import ArithmeticPairs
from atlas_ref.data.batch import IGNORED, Batch, ValidationSource
from spec_tests.package.micro.arithmetic import arithmetic_config

Pair = tuple[int, int]


def source(*overrides: str) -> ArithmeticPairs:
    config = arithmetic_config(*overrides)
    return ArithmeticPairs(config.data, config.train)


def scored(batch: Batch) -> Counter[Pair]:
    """Return how often each pair is scored in a batch."""
    rows = zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True)
    return Counter((a, b) for (a, b), (_, target) in rows if target != IGNORED)


def judged(part: ValidationSource) -> Counter[Pair]:
    return sum((scored(part.validation(index)) for index in range(part.validation_batches)), Counter[Pair]())


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 0.97])
def test_every_pair_is_on_one_side_and_is_judged_once_there(share: float) -> None:
    """Kills: a pair on both sides; one that is left out; rows that fill up the last batch and are scored."""
    found = source(f"data.arithmetic.share={share}", "train.batch_size=4")
    trained, held_out = judged(found.trained), judged(found)
    assert len(trained) == round(share * 49)
    assert trained + held_out == Counter({(a, b): 1 for a in range(7) for b in range(7)})


@pytest.mark.parametrize("operation", ["add", "multiply"])
def test_the_answer_stands_behind_the_second_number_alone(operation: str) -> None:
    """Kills: the other operation; a target behind the first number; an answer that is not reduced."""
    found = source(f"data.arithmetic.operation='{operation}'")
    for batch in (found.batch(0), found.validation(0)):
        assert batch.targets[:, 0].eq(IGNORED).all()
        assert batch.reset.tolist() == [[True, False]] * len(batch.reset)
        for (a, b), target in zip(batch.tokens.tolist(), batch.targets[:, 1].tolist(), strict=True):
            assert target == (a + b if operation == "add" else a * b) % 7


def test_a_full_batch_is_every_pair_once_at_every_step() -> None:
    """Kills: pairs drawn with replacement; the first rows of the table alone."""
    found = source()
    assert scored(found.batch(0)) == scored(found.batch(5)) == judged(found.trained)


def test_small_batches_make_whole_rounds_in_an_order_of_the_seed() -> None:
    """Kills: a batch that begins the round again; the order of one round for all; an order without the seed."""
    found, other = source("train.batch_size=8"), source("train.batch_size=8", "train.seed=1")
    # 29 batches of 8 rows are 8 rounds over 29 pairs.
    whole = sum((scored(found.batch(step)) for step in range(29)), Counter[Pair]())
    assert set(whole.values()) == {8}
    assert scored(found.batch(0)) != scored(other.batch(0))
    assert found.batch(3).tokens.tolist() == source("train.batch_size=8").batch(3).tokens.tolist()


def test_what_is_held_out_depends_on_the_seed_of_the_split_alone() -> None:
    """Kills: a split drawn from train.seed, so that a run that goes on with another validates on what was trained."""
    found = judged(source())
    assert judged(source("train.seed=5")) == found
    assert judged(source("data.arithmetic.split_seed=1")) != found
