"""From examples that were judged to the accuracy of each set and each domain (`metrics.domain_accuracy`)."""

from collections.abc import Sequence
from typing import NamedTuple

from atlas_ref.judging.examination import Examined
from atlas_ref.metrics.domain_accuracy import Accuracy, Tally, accuracy

DOMAINS = ("math", "code", "science", "commonsense", "reasoning", "qa", "language")
"""What the fourteen sets ask for, in the order in which it is told."""


class Judged(NamedTuple):
    """A domain: its accuracy, and those of its sets."""

    domain: str
    accuracy: Accuracy
    sets: list[tuple[Examined, Accuracy]]


def domains_of(examined: Sequence[Examined]) -> list[Judged]:
    """Return the domains of which an example was judged; a set without any is in none."""
    judged = []
    for domain in DOMAINS:
        parts = [part for part in examined if part.data_set.domain == domain and part.answered]
        tallies = {part.data_set.name: tally_of(part) for part in parts}
        whole = accuracy(tallies)
        if whole is not None:
            each = [(part, accuracy({"": tallies[part.data_set.name]})) for part in parts]
            judged.append(Judged(domain, whole, [(part, found) for part, found in each if found is not None]))
    return judged


def tally_of(examined: Examined) -> Tally:
    """Return what was counted of a set."""
    tally = Tally()
    for each in examined.answered:
        tally = tally.plus(each.score, len(each.example.choices))
    return tally
