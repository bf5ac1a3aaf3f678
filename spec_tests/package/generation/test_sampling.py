"""Drawing a token, beside the definitions written out in plain Python over every subset of a small vocabulary.

Every test names the fault that was put into the program by hand and that it caught.
"""

import math
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from atlas_ref.errors import UserError
from atlas_ref.generation.sampling import Sampling, draw, probabilities, stream

WEIGHTS = {
    "all different": (7, 1, 12, 3, 5, 2),
    "equal ones": (4, 9, 4, 1, 9, 4),
    "all equal": (1, 1, 1, 1, 1, 1),
    "one of nearly all": (1, 10**9, 1, 2, 3, 1),
}
"""Unnormalised probabilities; the logits are their logarithms."""


def largest_set(weights: dict[int, Fraction], size: int) -> tuple[int, ...]:
    """Return, of all sets of `size` tokens, the one of most mass; of several, the one with the lowest indices."""
    return max(combinations(sorted(weights), size), key=lambda s: (sum(weights[i] for i in s), [-i for i in s]))


def by_definition(weights: tuple[int, ...], power: int, top_k: int | None, top_p: Fraction) -> list[Fraction]:
    """Return the probabilities at temperature 1/power: every subset is looked at, in exact arithmetic."""
    kept = {i: Fraction(weight) ** power for i, weight in enumerate(weights)}
    if top_k is not None and top_k < len(kept):
        kept = {i: kept[i] for i in largest_set(kept, top_k)}
    total = sum(kept.values())
    for size in range(1, len(kept) + 1):
        nucleus = largest_set(kept, size)
        if sum(kept[i] for i in nucleus) >= top_p * total:
            break
    mass = sum(kept[i] for i in nucleus)
    return [kept[i] / mass if i in nucleus else Fraction(0) for i in range(len(weights))]


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=[name.replace(" ", "-") for name in WEIGHTS])
@pytest.mark.parametrize("power", [1, 3])
def test_probabilities_are_those_of_the_definition(weights: tuple[int, ...], power: int) -> None:
    """Kills: a nucleus one token short or long, or over the distribution before top-k; ties kept beyond top-k or taken
    in another order; the temperature multiplied; what is left not divided by its sum."""
    logits = torch.tensor([math.log(weight) for weight in weights], dtype=torch.float64)
    for top_k in (None, 1, 3, 5, 99):
        for hundredths in (1, 34, 68, 85, 99, 100):
            expected = by_definition(weights, power, top_k, Fraction(hundredths, 100))
            found = probabilities(logits, Sampling(1.0 / power, top_k, hundredths / 100))
            assert [share > 0 for share in found.tolist()] == [share > 0 for share in expected]
            np.testing.assert_allclose(found.numpy(), [float(share) for share in expected], rtol=1e-12)


def test_a_nucleus_ends_where_its_mass_is_reached_exactly_and_takes_the_lower_index_of_equals() -> None:
    """Kills: > for >=; a sort that is not stable; float32, in which sums of quarters round differently."""
    equal = torch.zeros(8)
    assert probabilities(equal, Sampling(top_p=0.5)).tolist() == [0.25] * 4 + [0.0] * 4
    assert probabilities(equal, Sampling(top_p=math.nextafter(0.5, 1.0))).tolist() == [0.2] * 5 + [0.0] * 3
    assert probabilities(equal, Sampling(top_p=math.nextafter(0.5, 0.0))).tolist() == [0.25] * 4 + [0.0] * 4


def test_the_whole_share_cuts_nothing_and_a_tiny_one_leaves_the_likeliest() -> None:
    """Kills: p = 1 by a running sum, which rounding can bring to 1 before the last token; an empty nucleus."""
    logits = torch.tensor([0.0, -60.0, 3.0, -60.0, 1.0])
    plain = logits.double().softmax(-1)
    torch.testing.assert_close(probabilities(logits, Sampling(top_p=1.0)), plain, rtol=1e-14, atol=0)
    assert probabilities(logits, Sampling(top_p=5e-324)).tolist() == [0, 0, 1, 0, 0]


@pytest.mark.parametrize("temperature", [0.0, 5e-324, 1e-310, 1e-300])
def test_a_temperature_near_zero_is_its_limit(temperature: float) -> None:
    """Kills: a quotient that overflows to infinity, whose softmax is not a number."""
    assert probabilities(torch.tensor([3.0, -2.0, 4.0, 3.99]), Sampling(temperature)).tolist() == [0, 0, 1, 0]


def test_the_largest_temperature_is_a_uniform_draw_that_still_knows_the_likeliest() -> None:
    """Kills: top-k by probabilities, which are equal here where the logits differ."""
    logits = torch.tensor([3.0, -2.0, 4.0, 3.9])
    assert probabilities(logits, Sampling(1.7e308)).tolist() == [0.25] * 4
    assert probabilities(logits, Sampling(1.7e308, top_k=2)).tolist() == [0, 0, 0.5, 0.5]


def test_a_draw_is_the_first_token_whose_cumulative_probability_exceeds_the_number() -> None:
    """Kills: draws that do not use the stream; a comparison the other way round; a token of probability 0 drawn."""
    logits = torch.tensor([2.0, -1.0, 1.0, 0.5, 1.5])
    sampling = Sampling(0.7, 3)
    numbers, ours = stream(5, 2), stream(5, 2)
    weights = np.exp(np.array([2.0, 0.0, 1.0, 0.0, 1.5]) / 0.7) * [1, 0, 1, 0, 1]
    counts = np.zeros(5)
    for _ in range(2000):
        left = float(numbers.random()) * float(weights.sum())
        expected = 0
        while left >= weights[expected]:
            left -= weights[expected]
            expected += 1
        found = draw(logits, sampling, ours)
        assert found == expected
        counts[found] += 1
    # Three standard deviations of a share of 2,000 draws are at most 0.034.
    np.testing.assert_allclose(counts / 2000, weights / weights.sum(), atol=0.034)


class Least(np.random.Generator):
    """Random numbers that are all the least one there is."""

    def random(self, *arguments: Any, **named: Any) -> Any:
        return 0.0


def test_a_token_of_probability_zero_is_not_drawn_by_the_least_number_either() -> None:
    """Kills: >= for >, which takes the first token of the vocabulary once in 2^53 draws."""
    assert draw(torch.tensor([-1.0, 0.0, 3.0, 1.0]), Sampling(top_k=2), Least(np.random.Philox())) == 2


def test_every_seed_sample_and_step_has_a_stream_of_its_own() -> None:
    """Kills: a seed cut to 32 bits; seed + sample, which gives neighbours the same numbers; a step that is ignored."""
    places = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (2**32, 0, 0), (2**63, 0, 0), (2**64 - 1, 0, 0)]
    assert len({float(stream(*place).random()) for place in places}) == len(places)


@pytest.mark.parametrize(
    ("sampling", "words"),
    [
        ((-0.5, None, 1.0), "the temperature is -0.5"),
        ((math.inf, None, 1.0), "the temperature is inf"),
        ((math.nan, None, 1.0), "the temperature is nan"),
        ((1.0, 0, 1.0), "top-k is 0"),
        ((1.0, None, 0.0), "top-p is 0.0"),
        ((1.0, None, 1.0001), "top-p is 1.0001"),
        ((1.0, None, math.nan), "top-p is nan"),
    ],
)
def test_requests_that_make_no_sense_are_refused(sampling: tuple[float, int | None, float], words: str) -> None:
    """Kills: each check removed in turn; a comparison that NaN passes."""
    with pytest.raises(UserError, match=words):
        Sampling(*sampling)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_outside_its_range_is_refused(seed: int) -> None:
    """Kills: an OverflowError; a seed that wraps around."""
    with pytest.raises(UserError, match="it must be at least 0 and less than 2"):
        stream(seed)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_refused(bad: float) -> None:
    """Kills: a draw from probabilities that are not numbers."""
    with pytest.raises(UserError, match="not finite"):
        probabilities(torch.tensor([0.0, bad, 1.0]), Sampling())
