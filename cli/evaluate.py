"""`atlas eval`: the validation loss of a saved model, on its own data or on other text."""

import json
from pathlib import Path
from typing import Annotated

import typer

from cli.admission import skip_line
from cli.checkpoints import Device, open_model
from cli.overrides import as_overrides, data_fields


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory or a checkpoint.")],
    data: Annotated[
        Path | None, typer.Option(metavar="PATH", help="UTF-8 text, JSONL or folder; its last part is read.")
    ] = None,
    batches: Annotated[int | None, typer.Option(min=1, help="Most validation batches to read.")] = None,
    device: Annotated[Device | None, typer.Option(help="Where to compute.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print loss, perplexity and accuracy of a saved model.

    The loss is in nats a token, on validation batches, from a fresh memory.
    """
    fields = {"train.device": device, "train.eval_batches": batches, **data_fields(data, None)}
    opened = open_model(run, as_overrides(fields))
    from atlas_ref.training.evaluate import evaluate as evaluate_model
    from atlas_ref.training.run import open_data

    settings = opened.config.train
    source = open_data(opened.config, opened.checkpoint)
    found = evaluate_model(opened.model, source, settings.eval_batches, settings.precision, opened.checkpoint.step)
    if as_json:
        skipped = {"preflight_skipped": opened.checkpoint.preflight_skipped}
        typer.echo(json.dumps({"step": opened.checkpoint.step, **found, **skipped}))
        return
    typer.echo(
        f"step {opened.checkpoint.step}: loss {found['loss']:.4f}, perplexity {found['perplexity']:.3f}, "
        f"accuracy {found['accuracy']:.4f} over {found['tokens']:,.0f} tokens"
    )
    if opened.checkpoint.preflight_skipped is not None:
        typer.echo(skip_line(opened.checkpoint.preflight_skipped))
