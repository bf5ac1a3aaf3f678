"""`atlas eval`: the loss of a saved model, on the validation batches of its run or on the whole of any text; or how it
answers public data sets (`cli.suite`).
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from atlas_ref.errors import UserError
from cli.admission import skip_line
from cli.checkpoints import Chunk, Device, Opened, chunk_line, chunks_of, open_model
from cli.console import say
from cli.overrides import DataKey, DataPath, as_overrides, data_fields
from cli.suite import Asked, judge_suite

if TYPE_CHECKING:
    from atlas_ref.data.batch import ValidationSource
    from atlas_ref.data.whole import Split as Whole
    from atlas_ref.judging.questions import Held
    from atlas_ref.tasks.task import Task

RETRIEVED = {
    "stored": "with storage",
    "skipped": "storage skipped",
    "other": "storage of another episode",
    "swapped": "rows swapped",
    "zeroed": "memory zeroed",
}
"""What `atlas eval` calls the memories that questions are asked of."""
Split = Literal["train", "validation", "test", "all"]


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory or a checkpoint.")],
    data: DataPath = None,
    data_key: DataKey = None,
    split: Annotated[
        Split | None,
        typer.Option(
            help="Part of the text, or of the sets of a suite.", show_default="all of --data, else validation"
        ),
    ] = None,
    batches: Annotated[int | None, typer.Option(min=1, help="Most batches to read.")] = None,
    chunk: Chunk = None,
    device: Annotated[Device | None, typer.Option(help="Where to compute.")] = None,
    suite: Annotated[
        Literal["cognate"] | None, typer.Option(help="Ask the public data sets instead, in --data or of the run.")
    ] = None,
    examples: Annotated[int | None, typer.Option(min=1, help="Most examples of a set that a suite asks.")] = None,
    run_code: Annotated[
        Literal["isolated", "limited"] | None,
        typer.Option(
            help="Run programs that the model writes for a suite: without network and files, or merely limited.",
            show_default="never",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Files of a suite.", show_default="RUN/suite")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print the loss and accuracy of a saved model.

    The loss is in nats a token, with bits per byte and perplexity, from a fresh memory: on the validation batches of
    the run, as in training, or on every token of --data or of the part that --split names. With --suite: how often it
    is right in every domain of the public data sets, which docs/curriculum.md describes.
    """
    if suite is not None:
        held = refuse_for_suite(split, data_key, batches)
        opened = open_model(run, as_overrides({"train.device": device}), chunk)
        judge_suite(opened, Asked(data, held, examples, run_code, out, as_json))
        return
    if split == "test" or any(option is not None for option in (examples, run_code, out)):
        raise UserError("--split test, --examples, --run-code and --out are for --suite cognate.")
    opened = open_model(run, as_overrides({"train.device": device}), chunk)
    tell_loss(opened, data, as_overrides(data_fields(data, data_key)), split, batches, as_json=as_json)


def tell_loss(
    opened: Opened, data: Path | None, fields: list[str], split: "Whole | None", batches: int | None, *, as_json: bool
) -> None:
    """Judge a model on the validation of its run, or on a whole text, and print the result."""
    part: Whole = split or ("all" if fields else "validation")
    task, source, most = judged(opened, fields, part)
    from atlas_ref.training.evaluate import evaluate as evaluate_model

    step, precision = opened.checkpoint.step, opened.config.train.precision
    found = evaluate_model(opened.model, task, source, batches or most, precision, step)
    retrieved = retrieval_of(opened, source, step)
    difference = opened.checkpoint.data.other_text(source.identity)
    skipped = opened.checkpoint.preflight_skipped
    if as_json:
        text = {
            "split": part,
            "data": str(data) if data else None,
            "same_text": difference is None,
            "difference": difference,
        }
        served = {"chunk": chunks_of(opened.served), "trained_chunk": chunks_of(opened.config)}
        typer.echo(json.dumps({"step": step, **found, **retrieved, **text, **served, "preflight_skipped": skipped}))
        return
    typer.echo(sentence(step, found))
    for told in retrieval_lines(retrieved):
        typer.echo(told)
    if line := chunk_line(opened):
        typer.echo(line)
    if difference is not None:
        shared = opened.checkpoint.data.shared(source.identity)
        say(
            f"another text than that of the run{'' if data else f' ({difference})'}"
            + (f"; of its files the run has read {shared:,}" if shared else "")
        )
    elif part != "validation":
        typer.echo("this is the text of the run, which was trained on it")
    if skipped is not None:
        say(skip_line(skipped))


def refuse_for_suite(split: Split | None, data_key: str | None, batches: int | None) -> "Held":
    """Return the split that a suite asks; raise UserError for options that it does not have."""
    if data_key is not None or batches is not None:
        raise UserError("--data-key and --batches are not for --suite, which has --examples.")
    if split not in (None, "validation", "test"):
        raise UserError(
            f"--split {split}: must be validation or test for --suite, which asks nothing that is trained on."
        )
    return split or "validation"


def judged(opened: Opened, fields: list[str], split: "Whole") -> "tuple[Task, ValidationSource, int]":
    """Return the task, what the model is judged on, and the most batches of it: as in training, or the whole text."""
    from atlas_ref.config import parse_config
    from atlas_ref.tasks.registry import task_of
    from atlas_ref.training.run import open_data, open_text

    checkpoint = opened.checkpoint
    if not fields and split == "validation":
        source = open_data(opened.run, checkpoint)
        return task_of(opened.config.data), source, opened.config.train.eval_batches
    if checkpoint.tokenizer is None:
        raise UserError(f"{checkpoint.path}: was trained on {checkpoint.config.data.source}, which is not text.")
    config = parse_config(opened.run.model_dump(), str(checkpoint.path), fields)
    text = open_text(config, checkpoint, split)
    return task_of(config.data), text, text.validation_batches


def retrieval_of(opened: Opened, source: "ValidationSource", step: int) -> dict[str, float]:
    """Return what the memory is worth in episodes, under the keys of the log; nothing of other data."""
    from atlas_ref.data.batch import EpisodicSource
    from atlas_ref.training.retrieval import verify_retrieval

    if not isinstance(source, EpisodicSource):
        return {}
    config = opened.config
    return verify_retrieval(opened.model, source, config.judged_episodes, config.train.precision, step)


def retrieval_lines(found: dict[str, float]) -> list[str]:
    """Return a line for each memory that the questions were asked of, and what storage adds; none without episodes."""
    if not found:
        return []
    named = {name.removeprefix("retrieval/"): value for name, value in found.items()}
    lines = [
        f"retrieval, {what}: {_with_interval(named, name)}{_kinds(named, name)}" for name, what in RETRIEVED.items()
    ]
    if "followed" in named:
        lines.append(f"answers of the other row, with rows swapped: {named['followed']:.4f}")
    return [*lines, f"retrieval gain: {_with_interval(named, 'gain')} (with storage less without)"]


def _with_interval(named: dict[str, float], name: str) -> str:
    return f"{named[name]:.4f} [{named[f'{name}_low']:.4f}, {named[f'{name}_high']:.4f}]"


def _kinds(named: dict[str, float], name: str) -> str:
    kinds = [f"{kind} {named[f'{name}_{kind}']:.4f}" for kind in ("words", "sums") if f"{name}_{kind}" in named]
    return f", {', '.join(kinds)}" if len(kinds) > 1 else ""


def sentence(step: int, found: dict[str, Any]) -> str:
    """Return the result on one line."""
    bits = f"{found['bits_per_byte']:.4f} bits per byte, " if "bits_per_byte" in found else ""
    size = f" of {found['bytes']:,.0f} bytes" if "bytes" in found else ""
    answers = (
        f", {found['answer_accuracy']:.4f} of {found['answers']:,.0f} answers right as a whole"
        if "answers" in found
        else ""
    )
    halting = f", halting after {found['halting_steps']:.2f} iterations" if "halting_steps" in found else ""
    return (
        f"step {step}: loss {found['loss']:.4f}, {bits}perplexity {found['perplexity']:.3f}, "
        f"accuracy {found['accuracy']:.4f} over {found['tokens']:,.0f} tokens{size}{answers}{halting}"
    )
