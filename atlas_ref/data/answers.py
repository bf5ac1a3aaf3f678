"""Prompts with answers: the rows of JSONL or parquet files, of which two keys are read.

A row is an example: `data.answers.prompt_key` and `data.answers.answer_key` say where its prompt and its answer stand,
each with `+` and `|` as `data.text_key` has them. Text and finite numbers are read, a whole number without its point.
Nothing is skipped in silence: an example whose prompt or answer is blank or null is counted, and a row without a field,
or with something else in it, is refused by file, line and field.
"""

from typing import NamedTuple

from atlas_ref.config import AnswersConfig
from atlas_ref.data.corpus import read_files
from atlas_ref.data.folder import LeftOut
from atlas_ref.data.formats import Key, records, text_under
from atlas_ref.data.identity import FileIdentity
from atlas_ref.errors import UserError


class PromptAnswer(NamedTuple):
    """What is given, and what is to be said then; neither is blank."""

    prompt: str
    answer: str


class AnswerSet(NamedTuple):
    """Examples in the order of their files, what messages call the set, and what was not taken."""

    name: str
    examples: list[PromptAnswer]
    files: list[FileIdentity]
    left_out: list[LeftOut]
    empty: int
    """Examples with a blank prompt or a blank answer, which are skipped."""


def read_answers(path: str, fields: AnswersConfig) -> AnswerSet:
    """The examples at a path: a file, or the files of a folder and of its folders in the order of their names.

    Raises UserError that names the file, and the line or row where there is one.
    """
    prompt_key = Key.of(fields.prompt_key, "name the prompt with data.answers.prompt_key")
    answer_key = Key.of(fields.answer_key, "name the answer with data.answers.answer_key")
    found, empty = AnswerSet(path, [], [], [], 0), 0
    for file, content, identity in read_files(path, found.left_out):
        if identity.kind.startswith("text"):
            raise UserError(f"{file}: is plain text; prompts and answers are read of .jsonl, .json and .parquet alone.")
        found.files.append(identity)
        for place, entry in records(file, identity.kind, content, prompt_key, answer_key):
            example = PromptAnswer(*(text_under(place, entry, key, numbers=True) for key in (prompt_key, answer_key)))
            if all(example):
                found.examples.append(example)
            else:
                empty += 1
    if len(found.examples) < 2:
        raise UserError(
            f"{path}: holds {len(found.examples)} prompts with an answer; there must be one to train on and one to "
            "validate on."
        )
    return found._replace(empty=empty)


def split_examples(
    examples: list[PromptAnswer], validation_fraction: float
) -> tuple[list[PromptAnswer], list[PromptAnswer]]:
    """Cut the last `validation_fraction` of the examples off, at least one of them, and leave at least one."""
    validated = min(max(1, round(len(examples) * validation_fraction)), len(examples) - 1)
    return examples[:-validated], examples[-validated:]
