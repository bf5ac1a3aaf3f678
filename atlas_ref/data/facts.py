"""What was read, as a person wants to see it before hours are spent on it: one line a fact, under a short label."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from atlas_ref.data.corpus import Corpus
from atlas_ref.data.folder import LeftOut
from atlas_ref.data.identity import FileIdentity
from atlas_ref.wording import counted

SHOWN = 4
"""Most names that are listed of a kind."""


class Fact(NamedTuple):
    """A label and what it says; facts in a row may share a label, which is then shown once."""

    label: str
    text: str


def facts_of_text(
    corpus: Corpus, training: int, validation: int, filling: float, repeated: tuple[int, int]
) -> list[Fact]:
    """What there is to say of a text that became `training` and `validation` tokens.

    `filling` is the share of separators among them; `repeated` says how many of how many documents of the validation
    text are in the training text too.
    """
    facts = [
        Fact("data", what_is_read(corpus.name, corpus.files, counted(len(corpus.documents), "document"))),
        Fact("tokens", _tokens(training, validation, filling)),
    ]
    facts += [Fact("not read", text) for text in what_is_left_out(corpus.left_out)]
    if corpus.empty:
        facts.append(Fact("empty", f"{counted(corpus.empty, 'document')} without text, skipped"))
    facts += [Fact("twice", f"{some_of(names)} hold the same") for names in corpus.twice()[:SHOWN]]
    if repeated[0]:
        which = f"{repeated[0]:,} of {repeated[1]:,} validation documents"
        facts.append(Fact("twice", f"{which} stand in the training text too: their loss is not one of unseen text"))
    return facts


def what_is_read(name: str, files: Sequence[FileIdentity], what: str) -> str:
    """Files by kind and size, and `what` is in them."""
    kinds = Counter(file.kind for file in files)
    which = ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()))
    size = sum(file.bytes for file in files)
    return f"{name}: {counted(len(files), 'file')} ({which}) of {size:,} bytes, {what}"


def _tokens(training: int, validation: int, filling: float) -> str:
    said = f"{training:,} to train on, {validation:,} to validate on"
    return said if filling < 0.05 else f"{said}; {filling:.0%} of them only end documents, up to whole chunks"


def what_is_left_out(entries: Sequence[LeftOut]) -> list[str]:
    """A line for each reason for which something is not read."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for name, reason in entries:
        by_reason[reason].append(name)
    return [f"{some_of(names)} ({reason})" for reason, names in sorted(by_reason.items())]


def some_of(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
