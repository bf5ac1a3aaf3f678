"""Relay: the target is the last symbol, and the bound is what guessing gives to whoever sees no farther."""

import numpy as np
import pytest
import torch

from atlas_ref.config import RunConfig, load_config
from atlas_ref.data.relay import RelayTask, bound, distances


def relay(*overrides: str) -> tuple[RelayTask, RunConfig]:
    config = load_config("relay", [*overrides])
    return RelayTask(config.data, config.train), config


def test_a_target_is_the_last_symbol_at_or_before_it() -> None:
    """Kills: the next symbol; the symbol before a place that holds one itself."""
    source, config = relay()
    batch = source.batch(3)
    for row in range(len(batch.tokens)):
        last = -1
        for place, token in enumerate(batch.tokens[row].tolist()):
            last = token if token < config.data.relay.symbols else last
            assert int(batch.targets[row, place]) == last
    assert batch.reset[:, 0].all()
    assert not batch.reset[:, 1:].any()


def test_symbols_come_as_often_as_asked_and_are_all_alike() -> None:
    """Kills: a rate of one in so many and one; a symbol that never comes."""
    source, config = relay("train.batch_size=4096")
    later = source.batch(0).tokens[:, 1:]
    symbols = config.data.relay.symbols
    assert float((later < symbols).double().mean()) == pytest.approx(1 / config.data.relay.every, abs=0.004)
    assert np.allclose(np.bincount(later[later < symbols].numpy()) / (later < symbols).sum().item(), 0.25, atol=0.02)


def test_the_bound_is_what_guessing_beyond_the_reach_gives() -> None:
    """Kills: a reach that is one place too long or too short; places that can see the first symbol counted as far."""
    source, config = relay("train.batch_size=8192")
    away = distances(source.batch(1), config.data.relay.symbols)
    for reach in (0, 1, 4, 8, 12, 22, 23):
        near = float((away <= reach).double().mean())
        found = bound(config.data.relay, config.data.sequence_length, reach)
        assert found == pytest.approx(near + (1.0 - near) / config.data.relay.symbols, abs=0.005)
    assert bound(config.data.relay, 24, 4) == pytest.approx(0.590, abs=5e-4)
    assert bound(config.data.relay, 24, 23) == 1.0


def test_validation_is_the_same_for_every_seed_and_training_is_not() -> None:
    """Kills: validation rows drawn from the stream of training."""
    (one, _), (other, _) = relay("train.seed=1"), relay("train.seed=2")
    assert torch.equal(one.validation(0).tokens, other.validation(0).tokens)
    assert not torch.equal(one.batch(0).tokens, other.batch(0).tokens)
    assert torch.equal(one.batch(5).tokens, relay("train.seed=1")[0].batch(5).tokens)
    assert not torch.equal(one.batch(5).tokens, one.batch(6).tokens)
