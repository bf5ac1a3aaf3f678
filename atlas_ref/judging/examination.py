"""One example after another is asked and judged, each in the way of its set (`data.adapters.table`).

    number, exact_match, word_f1    what the model writes, beside the right answer
    choice                          the answer with the highest mean log-probability a token, its end included
    token_accuracy                  the share of next tokens that are the likeliest: of a program, of a text
    pass@1                          instead, where programs are run: whether what the model writes passes its tests

The answer of a written example may have as many tokens as the longest right answer of its set among those that are
asked, and half of a row at most. An example whose answers do not fit in a row is skipped and counted.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from atlas_ref.data.adapters.row import Example
from atlas_ref.data.adapters.table import SETS, DataSet
from atlas_ref.data.packing import laid_out, pieces_of
from atlas_ref.judging.respondent import Followed, Respondent
from atlas_ref.metrics.said import exact_match, likeliest, same_number, word_f1

Run = Callable[[str, Sequence[str]], bool]
"""Runs a program with the checks behind it, and says whether all of it ended without an error."""
PASSED = "pass@1"
"""How programs that are run are judged."""
WRITTEN: dict[str, Callable[[str, str], float]] = {
    "number": lambda said, gold: float(same_number(said, gold)),
    "exact_match": lambda said, gold: float(exact_match(said, gold)),
    "word_f1": word_f1,
}
"""The measures of what is written: said, right -> 0 to 1."""


class Answered(NamedTuple):
    """An example and what became of it."""

    example: Example
    said: str | None
    """What the model wrote or chose; None where the tokens of the right answer were followed."""
    score: float
    """From 0 to 1."""
    nats: float
    """-log p of the right answer and its end, for a text of all its tokens but the first."""
    tokens: int
    """How many that is of."""


class Examined(NamedTuple):
    """A set, how it was judged, and its examples that were; the others were too long."""

    data_set: DataSet
    measure: str
    answered: list[Answered]
    skipped: int


def some_of(examples: Sequence[Example], most: int | None) -> list[Example]:
    """Return at most so many of the examples, the same ones always: those with the least checksums of their prompts."""
    if most is None or len(examples) <= most:
        return [*examples]
    return sorted(examples, key=lambda each: hashlib.sha256((each.prompt or each.answer).encode()).digest())[:most]


def examine(respondent: Respondent, name: str, examples: Sequence[Example], run: Run | None = None) -> Examined:
    """Ask the examples of a set; `run`, where it is given, runs the programs that the model writes."""
    (data_set,) = (each for each in SETS if each.name == name)
    runs = run is not None and all(example.checks for example in examples)
    measure = PASSED if runs else data_set.measure
    fitting = [example for example in examples if _fits(respondent, example)]
    skipped = len(examples) - len(fitting)
    if not fitting:
        answered = []
    elif data_set.measure == "choice":
        answered = _chosen(respondent, fitting)
    elif runs and run is not None:
        answered = _written(respondent, fitting, lambda said, example: float(run(said, example.checks)))
    elif data_set.measure == "token_accuracy":
        answered = [_answered(example, None, followed) for example, followed in _followed(respondent, fitting)]
    else:
        score = WRITTEN[data_set.measure]
        answered = _written(respondent, fitting, lambda said, example: score(said, example.gold))
    return Examined(data_set, measure, answered, skipped)


def loss_of(examined: Sequence[Examined]) -> float:
    """Return the nats a token of all right answers together; 0 where there are none."""
    answered = [each for part in examined for each in part.answered]
    return math.fsum(each.nats for each in answered) / max(1, sum(each.tokens for each in answered))


def as_lines(examined: Examined) -> list[Mapping[str, object]]:
    """Return a line for each example: what was asked, right and said, and the score."""
    return [
        {
            "set": examined.data_set.name,
            "measure": examined.measure,
            "prompt": each.example.prompt,
            "gold": each.example.gold,
            "said": each.said,
            "score": each.score,
        }
        for each in examined.answered
    ]


def _fits(respondent: Respondent, example: Example) -> bool:
    """Whether each answer of an example leaves a token of a row for its prompt."""
    answers = example.choices or (example.answer,)
    longest = max(len(respondent.tokenizer.encode(answer)) for answer in answers)
    return not example.prompt or longest + 2 <= respondent.length


def _chosen(respondent: Respondent, examples: Sequence[Example]) -> list[Answered]:
    """Weigh all choices of all examples, each behind as much of its prompt as the longest of them leaves room for."""
    laid, encode = [], respondent.tokenizer.encode
    for example in examples:
        choices = [encode(choice) for choice in example.choices]
        prompt = respondent.prompt(example.prompt, respondent.length - max(map(len, choices)) - 1)
        laid += [laid_out(prompt, choice, respondent.tokenizer.separator, 1) for choice in choices]
    found = iter(respondent.follow(laid))
    answered = []
    for example in examples:
        followed = [next(found) for _ in example.choices]
        chosen = likeliest([each.log_probabilities for each in followed])
        right = followed[example.right].log_probabilities
        said = example.choices[chosen]
        answered.append(Answered(example, said, float(chosen == example.right), -math.fsum(right), len(right)))
    return answered


def _written(
    respondent: Respondent, examples: Sequence[Example], score: Callable[[str, Example], float]
) -> list[Answered]:
    """Have answers written, and follow the right ones for their loss."""
    longest = max(len(respondent.tokenizer.encode(example.answer)) for example in examples) + 1
    said = respondent.say([example.prompt for example in examples], min(longest, max(1, respondent.length // 2)))
    return [
        _answered(example, text, followed)._replace(score=score(text, example))
        for text, (example, followed) in zip(said, _followed(respondent, examples), strict=True)
    ]


def _followed(respondent: Respondent, examples: Sequence[Example]) -> list[tuple[Example, Followed]]:
    """Return each example with what the model makes of its right answer, a text of several rows joined."""
    tokenizer, laid, sizes = respondent.tokenizer, [], []
    for example in examples:
        if example.prompt:
            said = tokenizer.encode(example.answer)
            prompt = respondent.prompt(example.prompt, respondent.length - len(said) - 1)
            rows = [laid_out(prompt, said, tokenizer.separator, 1)]
        else:
            rows = [*pieces_of(example.answer, tokenizer, respondent.length, 1)]
        laid += rows
        sizes.append(len(rows))
    found = iter(respondent.follow(laid))
    joined = []
    for example, size in zip(examples, sizes, strict=True):
        parts = [next(found) for _ in range(size)]
        whole = Followed(
            [x for part in parts for x in part.log_probabilities], [x for part in parts for x in part.hits]
        )
        joined.append((example, whole))
    return joined


def _answered(example: Example, said: str | None, followed: Followed) -> Answered:
    """An example of which the tokens were followed; its score is the share of them that were right."""
    count = len(followed.hits)
    return Answered(example, said, sum(followed.hits) / max(1, count), -math.fsum(followed.log_probabilities), count)
