"""`atlas generate`: text from a saved model, printed as it is made."""

import json
from pathlib import Path
from typing import Annotated

import typer

from atlas_ref.errors import UserError
from cli.checkpoints import Device, open_model


def generate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory or a checkpoint.")],
    prompt: Annotated[str, typer.Option(help="Text to go on from.")] = "\n",
    tokens: Annotated[int, typer.Option(min=1, help="Tokens to make.")] = 200,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest token.")] = 1.0,
    top_k: Annotated[int | None, typer.Option(min=1, help="Draw from that many of the likeliest tokens.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draws.")] = 0,
    device: Annotated[Device | None, typer.Option(help="Where to compute.")] = None,
) -> None:
    """Print text that a saved model makes.

    The prompt comes first, then what the model makes of it, token by token, with its memory carried.
    """
    opened = open_model(run, [f"train.device={json.dumps(device)}"] if device else [])
    from atlas_ref.data.tokenizer import StreamDecoder, tokenizer_from_json
    from atlas_ref.training.checkpoint import META
    from atlas_ref.training.generate import generate as generate_tokens

    if opened.checkpoint.tokenizer is None:
        raise UserError(f"{opened.checkpoint.path}: was trained on {opened.config.data.source}, which is not text.")
    tokenizer = tokenizer_from_json(opened.checkpoint.tokenizer, str(opened.checkpoint.path / META))
    decoder = StreamDecoder(tokenizer)
    typer.echo(prompt, nl=False)
    step = opened.checkpoint.step
    for made in generate_tokens(opened.model, tokenizer.encode(prompt), tokens, temperature, top_k, seed, step):
        typer.echo(decoder.push(made.token), nl=False)
    typer.echo(decoder.finish())
