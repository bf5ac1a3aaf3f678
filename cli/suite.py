"""`atlas eval --suite cognate`: how a model answers the public data sets, as a table, as JSON and as a picture.

DIR/suite.json      every domain and set: accuracy, how many, 95% interval, level of chance
DIR/answers.jsonl   what was said beside what is right, one object an example
DIR/suite.png       the accuracies with their intervals
"""

import json
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from atlas_ref.errors import UserError
from cli.checkpoints import Opened, chunk_line, chunks_of
from cli.console import bare_table, print_table, say

if TYPE_CHECKING:
    from atlas_ref.judging.domains import Judged
    from atlas_ref.judging.examination import Examined
    from atlas_ref.judging.programs import Isolation
    from atlas_ref.judging.questions import Held, Questions
    from atlas_ref.metrics.domain_accuracy import Accuracy

FILES = ("suite.json", "answers.jsonl", "suite.png")


class Asked(NamedTuple):
    """What the options say."""

    data: Path | None
    split: "Held"
    most: int | None
    isolation: "Isolation | None"
    out: Path | None
    as_json: bool


def judge_suite(opened: Opened, asked: Asked) -> None:
    """Ask the model, write the three files and print the result."""
    from atlas_ref.judging.domains import domains_of
    from atlas_ref.judging.programs import Programs
    from atlas_ref.judging.questions import read_questions

    config, target = opened.run, folder_of(opened, asked.out)
    if opened.checkpoint.tokenizer is None:
        raise UserError(f"{opened.checkpoint.path}: was trained on {config.data.source}, which is not text.")
    path = asked.data or (Path(config.data.path) if config.data.source == "sets" else None)
    if path is None:
        raise UserError(f"--data must name a folder of data sets: the run was trained on {config.data.source}.")
    programs = Programs(asked.isolation) if asked.isolation else None
    if programs is not None:
        programs.prove()
        say(programs.said(), err=asked.as_json)
    room, fraction = config.data.sequence_length, config.data.validation_fraction
    questions = read_questions(path, asked.split, room, fraction)
    examined = [*answers(opened, questions, asked.most, programs.passes if programs else None)]
    judged = domains_of(examined)
    if not judged:
        raise UserError(f"{path}: has no example whose answer fits in a row of {room:,} tokens.")
    found = as_object(opened, asked, questions, examined, judged)
    write(target, found, examined, judged)
    if asked.as_json:
        typer.echo(json.dumps(found))
    else:
        show(opened, asked, target, found, judged)


def folder_of(opened: Opened, out: Path | None) -> Path:
    """Return where the files go; raise UserError where they must not."""
    from atlas_ref.places import prove_writable
    from atlas_ref.storage.run_directory import RunDirectory

    run = opened.checkpoint.run_directory
    if out is None and run is None:
        raise UserError(f"{opened.checkpoint.path}: lies in no run directory; give --out DIR.")
    target = out or RunDirectory(run or Path()).suite
    if target.exists() and not target.is_dir():
        raise UserError(f"--out {target}: is no directory.")
    others = [entry.name for entry in target.iterdir() if entry.name not in FILES] if target.exists() else []
    if others:
        raise UserError(
            f"--out {target}: holds {min(others)}, which this command did not write; name another directory."
        )
    prove_writable(target, "--out")
    return target


def answers(opened: Opened, questions: "Questions", most: int | None, run: Any) -> "Iterator[Examined]":
    """Yield each set, answered and judged; a terminal is told which one is next."""
    from atlas_ref.judging.examination import examine, some_of
    from atlas_ref.judging.respondent import Respondent
    from atlas_ref.training.run import tokenizer_of

    tokenizer = tokenizer_of(opened.checkpoint)
    assert tokenizer is not None
    data, rows = opened.run.data, opened.run.train.batch_size
    respondent = Respondent(
        opened.model, tokenizer, data.answers.joint, data.sequence_length, rows, opened.checkpoint.step
    )
    for name, examples in questions.asked.items():
        chosen = some_of(examples, most)
        if sys.stderr.isatty():
            say(f"asking {len(chosen):,} of {name}", err=True)
        yield examine(respondent, name, chosen, run)


def as_object(
    opened: Opened, asked: Asked, questions: "Questions", examined: "list[Examined]", judged: "list[Judged]"
) -> dict[str, Any]:
    """Return everything that was found, for `--json` and suite.json."""
    from atlas_ref.judging.examination import loss_of

    return {
        "suite": "cognate",
        "step": opened.checkpoint.step,
        "split": asked.split,
        "run_code": asked.isolation,
        "loss": loss_of(examined),
        "domains": [domain_object(each) for each in judged],
        "absent": questions.absent,
        "skipped": {name: dict(reasons) for name, reasons in questions.skipped.items()},
        "chunk": chunks_of(opened.served),
        "trained_chunk": chunks_of(opened.config),
        "preflight_skipped": opened.checkpoint.preflight_skipped,
    }


def domain_object(judged: "Judged") -> dict[str, Any]:
    """Return a domain with its sets."""
    sets = [
        {"set": part.data_set.name, "judged_by": part.measure, **number, "too_long": part.skipped}
        for part, number in ((part, found._asdict()) for part, found in judged.sets)
    ]
    return {"domain": judged.domain, **judged.accuracy._asdict(), "sets": sets}


def write(target: Path, found: dict[str, Any], examined: "list[Examined]", judged: "list[Judged]") -> None:
    """Write the files, the picture only where it can be drawn."""
    from atlas_ref.judging.examination import as_lines
    from atlas_ref.storage.files import write_atomically, write_json

    target.mkdir(parents=True, exist_ok=True)
    write_json(target / "suite.json", found)
    lines = (json.dumps(line, ensure_ascii=False) + "\n" for part in examined for line in as_lines(part))
    write_atomically(target / "answers.jsonl", "".join(lines))
    if find_spec("matplotlib") is not None:
        from cli.plot import DPI, MARK
        from cli.suite_picture import draw

        draw(judged).savefig(target / "suite.png", dpi=DPI, metadata=MARK)


def show(opened: Opened, asked: Asked, target: Path, found: dict[str, Any], judged: "list[Judged]") -> None:
    """Print the table, and below it what its numbers leave unsaid."""
    from cli.admission import skip_line

    table = bare_table()
    for heading in ("", "judged by"):
        table.add_column(heading, no_wrap=True)
    for heading in ("n", "right", "95% interval", "chance"):
        table.add_column(heading, justify="right", no_wrap=True)
    for domain in judged:
        table.add_row(domain.domain, "", *numbers(domain.accuracy), style="bold")
        for part, accuracy in domain.sets:
            table.add_row(f"  {part.data_set.name}", part.measure, *numbers(accuracy))
    print_table(table)
    typer.echo(f"step {found['step']}, {asked.split} examples: loss {found['loss']:.4f} nats a token of right answers")
    if asked.isolation is None and any(part["set"] == "mbpp" for each in found["domains"] for part in each["sets"]):
        typer.echo("programs are not run: mbpp is judged by next tokens (--run-code isolated runs what is written)")
    long = [(part["set"], part["too_long"]) for each in found["domains"] for part in each["sets"] if part["too_long"]]
    if long:
        say("longer than a row: " + ", ".join(f"{count:,} of {name}" for name, count in long))
    rows = [f"{sum(reasons.values()):,} of {name}" for name, reasons in found["skipped"].items() if reasons]
    if rows:
        say(f"rows that are no examples: {', '.join(rows)} (reasons in suite.json)")
    if found["absent"]:
        say(f"absent: {', '.join(found['absent'])}")
    if line := chunk_line(opened):
        typer.echo(line)
    if found["preflight_skipped"] is not None:
        say(skip_line(found["preflight_skipped"]))
    drawn = "" if find_spec("matplotlib") else " (no picture: that needs matplotlib, pip install '.[plot]')"
    say(f"wrote {target}{drawn}")


def numbers(accuracy: "Accuracy") -> list[str]:
    """Return an accuracy as the table has it."""
    chance = f"{accuracy.chance:.1%}" if accuracy.chance else "-"
    return [f"{accuracy.n:,}", f"{accuracy.value:.1%}", f"{accuracy.low:.1%} to {accuracy.high:.1%}", chance]
