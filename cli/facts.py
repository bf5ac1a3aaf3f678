"""What a run reads, in one block before it begins: data, tokens, what was left out, a step, rounds over the data."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from atlas_ref.wording import counted
from cli.console import folded, prose_width, say

if TYPE_CHECKING:
    from atlas_ref.data.facts import Fact
    from atlas_ref.training.loop import Ready

LABEL = 10
"""Columns of a label."""


def say_facts(ready: "Ready") -> None:
    """Print the block of a run that may start."""
    for line in lines([*ready.source.facts, *facts_of_run(ready)], prose_width()):
        say(line)


def facts_of_run(ready: "Ready") -> "Iterator[Fact]":
    """Yield how many of the model's tokens there are where it is not all, what a step reads, and what all steps do."""
    from atlas_ref.data.facts import Fact

    tokenizer, size = ready.source.tokenizer, ready.config.any_model.vocab_size
    if tokenizer and tokenizer.vocab_size < size:
        yield Fact("tokenizer", f"has {tokenizer.vocab_size:,} of the model's {size:,} tokens; no other is ever drawn")
    rows, length, steps = ready.config.train.batch_size, ready.config.data.sequence_length, ready.config.last_step
    tokens, round_ = rows * length, ready.source.training_tokens
    yield Fact("a step", f"{counted(rows, 'row')} of {counted(length, 'token')}: {counted(tokens, 'token')}")
    rounds = f", {_rounds(steps * tokens / round_)} over those to train on" if round_ else ""
    yield Fact("in all", f"{counted(steps, 'step')}: {counted(steps * tokens, 'token')}{rounds}")


def _rounds(number: float) -> str:
    """Return a number of rounds, as far as it matters."""
    return f"{number:,.2f} rounds" if number >= 0.01 else "less than 0.01 rounds"


def lines(facts: "list[Fact]", width: int) -> Iterator[str]:
    """Yield facts as lines of at most `width` columns where their words allow it; a label stands once."""
    before = None
    for label, text in facts:
        for part in folded(text, width - LABEL):
            yield f"{'' if label == before else label:<{LABEL}}{part}"
            before = label
