"""What the study of whether a memory pays computes beside its runs: intervals, bins, and what stood before."""

import numpy as np
import pytest
import torch

from atlas_ref.models.atlas import AtlasModel
from benchmarks import worth_where
from benchmarks.worth import interval, last_of_each
from benchmarks.worth_where import ORDER, binned, since
from spec_tests.package.micro.runs import micro_config


def test_an_interval_over_pairs_is_that_of_student() -> None:
    """Kills: the normal's 1.96; a deviation by n; a half width that is not divided by the root of n."""
    # Mean 2, deviation 1 (n - 1), t(0.975, 2) = 4.302653.
    assert interval([1.0, 2.0, 3.0]) == f"+2.0000 ({2 - 4.302653 / 3**0.5:+.4f} to {2 + 4.302653 / 3**0.5:+.4f})"
    assert interval([0.25]) == "+0.2500"


def test_nine_pairs_and_more_have_an_interval() -> None:
    """Kills: a table that ends before the pairs do."""
    # Of 1 to 9: mean 5, variance 7.5, t(0.975, 8) = 2.306004; of twice as many t(0.975, 17) = 2.109816.
    for numbers, point, variance in ((range(1, 10), 2.306004, 7.5), ([*range(1, 10)] * 2, 2.109816, 120 / 17)):
        half = point * (variance / len(numbers)) ** 0.5
        assert interval([float(number) for number in numbers]) == f"+5.0000 ({5 - half:+.4f} to {5 + half:+.4f})"


def test_a_later_change_of_a_field_takes_the_earlier_one_back() -> None:
    """Kills: two values of one field, which the command line refuses."""
    assert last_of_each(["a=1", "b=2", "a=3"]) == ("a=3", "b=2")


def test_a_byte_stood_before_where_it_and_the_bytes_before_it_did() -> None:
    """Kills: a match of the bytes before alone; the first match in place of the last; one byte too few."""
    random = np.random.Generator(np.random.Philox(key=2))
    row = np.tile(random.integers(2, size=40), 3)[:100].copy()
    row[70] = 5
    expected = np.zeros(100, dtype=np.int64)
    for place in range(ORDER, 100):
        for age in range(1, place - ORDER + 1):
            if (row[place - age - ORDER : place - age + 1] == row[place - ORDER : place + 1]).all():
                expected[place] = age
                break
    assert np.array_equal(since(row), expected)
    assert expected.any()


def test_bins_hold_each_value_once() -> None:
    """Kills: a border that is in two bins or in none."""
    values, by = np.arange(6.0), np.array([1, 2, 2, 3, 4, 9])
    assert binned(values, by, (0, 2, 4)) == [(0, 2, 1.0, 3), (2, 4, 3.5, 2)]


def test_nats_of_rows_are_those_of_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a token that is judged by the logits of its own place; a call that begins afresh; the token between two
    calls left out or counted twice."""
    model = AtlasModel(micro_config().model, seed=0)
    tokens = torch.randint(256, (2, 40), generator=torch.Generator().manual_seed(4))
    monkeypatch.setattr(worth_where, "CALL", 16)
    with torch.inference_mode():
        logits = model(tokens, model.initial_state(2), None).logits
    log_p = logits.double().log_softmax(-1).numpy()
    expected = [[-log_p[row, place, tokens[row, place + 1]] for place in range(39)] for row in range(2)]
    np.testing.assert_allclose(worth_where.nats(model, tokens, "fp32"), expected, rtol=1e-4)
