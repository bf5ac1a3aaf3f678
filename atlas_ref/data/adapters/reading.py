"""Questions on what is read or known: BoolQ, StrategyQA, DROP and HotpotQA."""

from collections.abc import Sequence

from atlas_ref.data.adapters.row import Example, Row, Skip

YES_NO = ("yes", "no")


def boolq(row: Row) -> Example | Skip:
    """Passage, then question; then yes or no (`label` 1 or 0 in a mirror)."""
    passage, question = row.text("passage"), row.text("question")
    return _yes_or_no(f"{passage}\n{question}" if passage and question else "", row.yes_or_no("answer", "label"))


def strategyqa(row: Row) -> Example | Skip:
    """The question alone; then yes or no. The facts decide the answer and are never shown."""
    return _yes_or_no(row.text("question"), row.yes_or_no("answer"))


def drop(row: Row) -> Example | Skip:
    """Passage, then question; then the first of the spans that answer it."""
    passage, question = row.text("passage"), row.text("question")
    if row.split == "test" and "answers_spans" not in row.fields:
        return Skip.HIDDEN
    (found,) = row.columns("answers_spans", "spans")
    # A list of tables has a list of spans in each.
    spans = [span for some in found for span in row.texts("answers_spans", some)]
    if not spans:
        return Skip.NO_SPAN
    if not passage or not question or not spans[0].strip():
        return Skip.BLANK
    return Example(f"{passage}\n{question}", spans[0], spans[0])


def hotpotqa(row: Row) -> Example | Skip:
    """Paragraphs, then question; then the answer.

    The paragraphs that hold the supporting facts come first, then the others in their order, as long as there is room
    for them: they are left out whole here, since a prompt that is too long loses its beginning, where the facts are.
    """
    question, answer = row.text("question"), row.label("answer")
    if answer is None:
        return Skip.HIDDEN if row.split == "test" else Skip.BLANK
    (named,) = row.columns("supporting_facts", "title")
    titles, sentences = row.columns("context", "title", "sentences")
    facts = set(row.texts("supporting_facts", named))
    paragraphs = [
        (title, f"{title}: {''.join(row.texts('context', some)).strip()}")
        for title, some in zip(row.texts("context", titles), sentences, strict=True)
    ]
    if not question:
        return Skip.BLANK
    known = [text for title, text in paragraphs if title in facts]
    others = [text for title, text in paragraphs if title not in facts]
    context = _within(known, others, row.room - _bytes(question) - _bytes(answer) - ENDS)
    return Example("\n".join((*context, question)), answer, answer)


ENDS = 3
"""Bytes that part a prompt from its answer and end the answer, with one to spare."""


def _within(first: Sequence[str], others: Sequence[str], room: int) -> list[str]:
    """All of the first, then as many of the others, in order, as there is room for."""
    kept, used = [*first], sum(_bytes(text) + 1 for text in first)
    for text in others:
        used += _bytes(text) + 1
        if used > room:
            break
        kept.append(text)
    return kept


def _bytes(text: str) -> int:
    return len(text.encode())


def _yes_or_no(prompt: str, answer: str | None) -> Example | Skip:
    if answer is None:
        return Skip.HIDDEN
    return Example(prompt, answer, answer, YES_NO, YES_NO.index(answer)) if prompt else Skip.BLANK
