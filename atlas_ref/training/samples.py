"""samples.jsonl: what the model writes while it trains, one JSON object for each step of `train.sample_interval`.

    {"step": 200, "prompt": "ROMEO:", "text": "\nWhat light ...", "ended": false}

`ended` says that the model ended the document within `train.sample_tokens` tokens. A text is drawn at temperature 1
from the whole distribution, with numbers that depend on `train.seed` and the step alone, from a fresh memory and
without gradients: a run with samples is bit for bit the run without. A resumed run keeps the lines up to its
checkpoint, so the file equals that of a run that was never stopped. It is synced at every line.
"""

import json
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from atlas_ref.data.tokenizer import Tokenizer, decode
from atlas_ref.errors import UserError
from atlas_ref.generation.generate import generate, read_prompt
from atlas_ref.generation.sampling import Sampling, stream
from atlas_ref.reading import opened
from atlas_ref.storage.files import naming, write_atomically
from atlas_ref.training.context import Context
from atlas_ref.training.run import Run

MOST_LINE = 2**24
"""Bytes that a line may have."""
SHOWN = 120
"""Characters of a text that the terminal is shown."""


class Sample(NamedTuple):
    """One line of the file."""

    step: int
    prompt: str
    text: str
    ended: bool


def sample_when_due(run: Run, context: Context) -> None:
    """Draw, write and show a text when the step reached is due one; the first process alone does."""
    settings = context.config.train
    if not settings.sample_interval or not context.is_due(run.step, settings.sample_interval):
        return
    tokenizer = context.source.tokenizer
    if not context.world.main or tokenizer is None:
        return
    found = draw_sample(run, context, tokenizer)
    append(context.directory.samples, found)
    words = " ".join(f"{found.prompt}{found.text}".split())
    shown = words if len(words) <= SHOWN else f"{words[:SHOWN]}..."
    context.reporter.say(f"sample of step {run.step}: {shown}")


def draw_sample(run: Run, context: Context, tokenizer: Tokenizer) -> Sample:
    """Return the text that the model of the step reached writes after the prompt of the configuration."""
    settings = context.config.train
    start = read_prompt(run.model, tokenizer.encode(settings.sample_prompt), run.step, tokenizer.vocab_size)
    random = stream(settings.seed, step=run.step)
    made = generate(start, settings.sample_tokens, Sampling(), random, tokenizer.separator)
    tokens = [step.token for step in made]
    return Sample(run.step, settings.sample_prompt, decode(tokenizer, tokens), tokens[-1] == tokenizer.separator)


def append(path: Path, sample: Sample) -> None:
    """Add a line and make it survive a power failure."""
    line = (json.dumps(sample._asdict(), ensure_ascii=False) + "\n").encode()
    with naming(path), path.open("ab") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def keep_samples(source: Path, target: Path, step: int) -> str | None:
    """Write to `target` the lines of `source` up to `step`; return a sentence when there is a line that is none.

    What comes after that line is left out with it. Where there is no file none is made.
    """
    kept: list[Sample] = []
    note = None
    try:
        kept.extend(found for found in read_samples(source) if found.step <= step)
    except UserError as error:
        note = f"{error} The samples from there on are left out."
    if kept or target.exists():
        lines = (json.dumps(found._asdict(), ensure_ascii=False) + "\n" for found in kept)
        write_atomically(target, "".join(lines))
    return note


def read_samples(path: Path) -> Iterator[Sample]:
    """Yield the lines of a file, none where there is no file; raise UserError, naming the line, at one that is none.

    A last line that a crash cut short is left out.
    """
    if not path.exists():
        return
    with opened(path) as file:
        for number in count(1):
            line = file.readline(MOST_LINE)
            if not line.endswith(b"\n") and len(line) < MOST_LINE:
                return
            found = _sample(line)
            if found is None:
                raise UserError(f"{path}, line {number}: is no sample.")
            yield found


def _sample(line: bytes) -> Sample | None:
    try:
        entry: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    kinds = (("step", int), ("prompt", str), ("text", str), ("ended", bool))
    if not isinstance(entry, dict) or entry.keys() != set(Sample._fields):
        return None
    return Sample(**entry) if all(type(entry[name]) is kind for name, kind in kinds) else None
