"""One answer of several: ARC, PIQA and HellaSwag. A label that is not published is never trained on."""

from collections.abc import Mapping

from atlas_ref.data.adapters.row import Example, Row, Skip


def arc(row: Row) -> Example | Skip:
    """The question with its choices, each behind its label; then the text of the choice that `answerKey` names.

    Labels are letters or digits and are compared as they are, never counted: there are three to five.
    """
    asked = row.fields.get("question")
    # The authors' own files have the question and its choices under one name.
    if isinstance(asked, Mapping):
        stem = row._replace(fields={**row.fields, **asked, "question": asked.get("stem")})
    else:
        stem = row
    question, key = stem.text("question"), row.label("answerKey")
    texts, labels = stem.columns("choices", "text", "label")
    choices, names = tuple(row.texts("choices", texts)), [str(label) for label in labels]
    if key is None:
        return Skip.HIDDEN
    if key not in names:
        raise row.refused("answerKey", f"must be one of the labels {', '.join(names)}", key)
    if not question or not all(choice.strip() for choice in choices):
        return Skip.BLANK
    listed = "\n".join(f"{name}. {text}" for name, text in zip(names, choices, strict=True))
    right = names.index(key)
    return _chosen(f"{question}\n{listed}", choices, right)


def piqa(row: Row) -> Example | Skip:
    """The goal; then the solution of two that the label names."""
    choices, right = (row.text("sol1"), row.text("sol2")), row.number("label")
    return _labelled(row, row.text("goal"), choices, right)


def hellaswag(row: Row) -> Example | Skip:
    """The context; then the ending of four that the label names. The label is text."""
    choices, right = tuple(row.list_of("endings")), row.number("label")
    return _labelled(row, row.text("ctx"), choices, right)


def _labelled(row: Row, prompt: str, choices: tuple[str, ...], right: int | None) -> Example | Skip:
    if right is None:
        return Skip.HIDDEN
    if right >= len(choices):
        raise row.refused("label", f"must be below the number of choices, {len(choices)}", right)
    return _chosen(prompt, choices, right) if prompt and all(map(str.strip, choices)) else Skip.BLANK


def _chosen(prompt: str, choices: tuple[str, ...], right: int) -> Example:
    return Example(prompt, choices[right], choices[right], choices, right)
