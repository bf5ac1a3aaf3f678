"""Prompts with answers on disk, configurations that read them, and what a row of them must look like, byte by byte."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atlas_ref.config import RunConfig
from atlas_ref.data.answers import PromptAnswer
from atlas_ref.data.packing import Rows
from spec_tests.package.house import ROOT
from spec_tests.package.micro.runs import micro_config

END, NOTHING = 256, -100
"""Separator of the bytes tokenizer, and the target of a place that is not scored."""


def write_rows(path: Path, rows: Sequence[Any]) -> Path:
    """Write a row a line, and return the path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def sums(count: int) -> list[dict[str, Any]]:
    """Return rows of many lengths, no two of them alike."""
    return [{"question": "?" * (number % 7) + f"{number}+{number}", "answer": 2.0 * number} for number in range(count)]


def answer_config(path: Path, *overrides: str) -> RunConfig:
    """Return the micro model on the answers at a path."""
    return micro_config("data.source='answers'", f"data.path='{path}'", *overrides)


def shared_file(name: str) -> Path | None:
    """Return a file of public data that lies beside the project, None where there is none."""
    places = (parent / "shared" / "data" / name for parent in ROOT.parents)
    return next((place for place in places if place.is_file()), None)


def places_asked(
    tokens: Sequence[int], examples: Sequence[PromptAnswer], joint: str, room: int
) -> list[tuple[int, int]]:
    """Return the places of a row that must be scored, each with its target, by searching the examples in it.

    What a row holds of an example is the end of `prompt + joint`, the answer and END, `room` bytes at most; examples
    are looked for one behind the other.
    """
    asked, start = [], 0
    for prompt, answer in examples:
        said = [*answer.encode(), END]
        given = [*(prompt + joint).encode()][-(room - len(said)) :]
        whole = [*given, *said]
        first = next(at for at in range(start, len(tokens)) if [*tokens[at : at + len(whole)]] == whole)
        for number, token in enumerate(said):
            asked.append((first + len(given) + number - 1, token))
        start = first + len(whole)
    return asked


def is_scored_right(rows: Rows, examples: Sequence[Sequence[PromptAnswer]], joint: str) -> bool:
    """Return whether rows score exactly the answers of the examples that are in each, and their ends."""
    length = rows.tokens.shape[1]
    if len(rows.tokens) != len(examples):
        return False
    for tokens, targets, inside in zip(rows.tokens.tolist(), rows.targets.tolist(), examples, strict=True):
        try:
            asked = dict(places_asked(tokens, inside, joint, length))
        except StopIteration:  # An example does not stand in its row.
            return False
        if targets != [asked.get(place, NOTHING) for place in range(length)]:
            return False
    return True
