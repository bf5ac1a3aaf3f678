"""The generated long text: what comes back is what was said, as far back as it is said to be."""

import re

import numpy as np

from benchmarks.long_text import GAPS, documents


def test_every_mention_repeats_its_number_at_its_distance() -> None:
    """Kills: a distance to the name instead of to the number; a number drawn anew; a first mention that is none; a
    mention that is not told of."""
    for text, mentions in documents(count=3, tokens=6_000, seed=5):
        assert len(text) <= 6_000
        last: dict[str, int] = {}
        found = []
        for match in re.finditer(r"([A-Z])(\d{3}) ", text):
            place = match.start(2)
            found.append((place, place - last.get(match[1], place)))
            if match[1] in last:
                assert text[last[match[1]] : last[match[1]] + 3] == match[2]
            last[match[1]] = place
        assert found == [tuple(mention) for mention in mentions]


def test_digits_are_even_and_gaps_are_even_in_their_logarithm() -> None:
    """Kills: digits that a name tells; gaps that are even themselves, of which hardly any are short."""
    made = documents(count=100, tokens=4_000, seed=1)
    firsts = [
        int(text[m.place + digit]) for digit in range(3) for text, mentions in made for m in mentions if m.gap == 0
    ]
    assert np.ptp(np.bincount(firsts, minlength=10)) < 6 * (len(firsts) / 10) ** 0.5
    gaps = np.array([m.gap for _, mentions in made for m in mentions if m.gap])
    assert gaps.min() >= GAPS[0]
    # Of those that fit in the document well, as many lie between 64 and 128 as between 128 and 256.
    shorter, longer = ((gaps > low) & (gaps <= 2 * low) for low in (64, 128))
    assert 0.8 < shorter.sum() / longer.sum() < 1.35


def test_the_same_numbers_make_the_same_text() -> None:
    """Kills: a draw from a generator of the process."""
    assert documents(2, 500, seed=3) == documents(2, 500, seed=3)
    assert documents(1, 500, seed=3) != documents(1, 500, seed=4)
