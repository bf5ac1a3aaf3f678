"""What a model said beside what it should have said: numbers, short answers, descriptions, choices.

Nothing that a model says is executed or parsed as code.
"""

import math
import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Final

NUMBER: Final = re.compile(
    r"(?:(?<![\w.)])-\s?)?(?:\$\s?)?"
    r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)?"
    r"(?:(?<=\d)\.\d+|(?<!\w)\.\d+)?"
)
"""A decimal number, maybe in groups of three; a hyphen behind a word, number or bracket is no minus."""
MARK: Final = "####"
"""Behind it stands the number of a solution."""
MINUS: Final = str.maketrans(dict.fromkeys("\u2212\u2013", "-"))
"""Signs that are printed for a minus."""
ARTICLES: Final = re.compile(r"\b(?:a|an|the)\b")
NO_MARKS: Final = str.maketrans(dict.fromkeys(string.punctuation))


def number_of(text: str, *, whole: bool = False) -> str | None:
    """Return the number that a text comes to, in one spelling, None where there is none.

    It is the first number behind the last `####`, or else the last one of the text; with `whole` the text must be a
    number and nothing else. Signs, `$`, commas of thousands, leading and trailing zeros are spelt away: `-1,050.50`
    and `$1050.5` differ in their sign alone, `+0.0` is `0`. Decimal digits are compared, so none is rounded.
    """
    text = text.translate(MINUS).strip()
    if whole:
        found = NUMBER.fullmatch(text.removeprefix("+"))
        return _spelt(found[0]) if found and any(map(str.isdigit, found[0])) else None
    _, mark, behind = text.rpartition(MARK)
    numbers = [found[0] for found in NUMBER.finditer(behind) if any(map(str.isdigit, found[0]))]
    if not numbers:
        return None
    return _spelt(numbers[0] if mark else numbers[-1])


def same_number(said: str, gold: str) -> bool:
    """Return whether the number that was said is the right one (`number_of`); two texts without any are not."""
    number = number_of(said)
    return number is not None and number == number_of(gold)


def normalised(text: str) -> str:
    """Return a text in lower case, without ASCII punctuation, then without articles, with single spaces."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(NO_MARKS)).split())


def exact_match(said: str, gold: str) -> bool:
    """Return whether two texts are alike when normalised."""
    return normalised(said) == normalised(gold)


def word_f1(said: str, gold: str) -> float:
    """Return the harmonic mean of precision and recall over the normalised words, each as often as it stands there.

    Two empty texts are alike, 1; one empty text scores 0.
    """
    ours, theirs = normalised(said).split(), normalised(gold).split()
    if not ours or not theirs:
        return float(ours == theirs)
    return 2.0 * (Counter(ours) & Counter(theirs)).total() / (len(ours) + len(theirs))


def likeliest(log_probabilities: Sequence[Sequence[float]]) -> int:
    """Return which of several answers has the highest mean log-probability a token (nats), the first of equals.

    A long answer is not punished for its length. Raises ValueError for fewer than two answers, one without tokens, or
    what is not a number.
    """
    if len(log_probabilities) < 2 or not all(log_probabilities):
        raise ValueError("there must be two answers or more, each of one token or more")
    means = [math.fsum(tokens) / len(tokens) for tokens in log_probabilities]
    if any(map(math.isnan, means)):
        raise ValueError("a log-probability is not a number")
    return means.index(max(means))


def _spelt(number: str) -> str:
    """Return a number that NUMBER found without signs of money, commas and zeros that say nothing."""
    negative = number.startswith("-")
    whole, _, part = number.strip("-$ ").replace(",", "").partition(".")
    text = (whole.lstrip("0") or "0") + (f".{part.rstrip('0')}" if part.rstrip("0") else "")
    return f"-{text}" if negative and text != "0" else text
