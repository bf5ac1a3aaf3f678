"""`atlas generate`: texts from a saved model, printed as they are made."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from atlas_ref.errors import UserError
from atlas_ref.wording import visible
from cli.checkpoints import Chunk, Device, chunk_line, open_model
from cli.console import say
from cli.prompt import prompt_text

DEFAULT_PROMPT = "\n"
LARGEST_SEED = 2**64 - 1


def generate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory or a checkpoint.")],
    prompt: Annotated[
        str | None,
        typer.Option(help="Text to go on from; - reads it from standard input.", show_default="a line break"),
    ] = None,
    prompt_file: Annotated[Path | None, typer.Option(metavar="PATH", help="Read the prompt from a file.")] = None,
    tokens: Annotated[int, typer.Option(min=1, help="Most tokens of a sample.")] = 200,
    samples: Annotated[int, typer.Option(min=1, help="Texts to make, each from the same prompt.")] = 1,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token.")] = 1.0,
    top_k: Annotated[int | None, typer.Option(min=1, help="Draw from that many of the likeliest tokens.")] = None,
    top_p: Annotated[
        float, typer.Option(help="Draw from the fewest likeliest tokens with this share, after --top-k.")
    ] = 1.0,
    past_end: Annotated[bool, typer.Option("--past-end", help="Go on where the model ends the document.")] = False,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Seed of the draws.")] = 0,
    chunk: Chunk = None,
    device: Annotated[Device | None, typer.Option(help="Where to compute.")] = None,
) -> None:
    """Print text that a saved model makes.

    The prompt comes first, then what the model makes of it, token by token, with its memory carried. A sample depends
    on the seed and its own number, not on how many samples there are.
    """
    text = prompt_text(prompt, prompt_file)
    from atlas_ref.data.tokenizer import StreamDecoder
    from atlas_ref.generation.generate import generate as generate_tokens
    from atlas_ref.generation.generate import read_prompt
    from atlas_ref.generation.sampling import Sampling, stream
    from atlas_ref.training.run import tokenizer_of

    sampling = Sampling(temperature, top_k, top_p)
    opened = open_model(run, [f"train.device={json.dumps(device)}"] if device else [], chunk)
    tokenizer = tokenizer_of(opened.checkpoint)
    if tokenizer is None:
        raise UserError(f"{opened.checkpoint.path}: was trained on {opened.config.data.source}, which is not text.")
    if line := chunk_line(opened):
        # Beside the text, which may go into a file.
        say(line, err=True)
    text = DEFAULT_PROMPT if text is None else text
    start = read_prompt(opened.model, tokenizer.encode(text), opened.checkpoint.step, tokenizer.vocab_size)
    for number in range(samples):
        if samples > 1:
            typer.echo(f"--- sample {number + 1} of {samples}")
        put(text)
        decoder = StreamDecoder(tokenizer)
        end = None if past_end else tokenizer.separator
        for made in generate_tokens(start, tokens, sampling, stream(seed, number), end):
            put(decoder.push(made.token))
        put(decoder.finish() + "\n")


def put(text: str) -> None:
    """Print a piece of a text: as it is into a file or a pipe, and to a terminal so that it obeys nothing."""
    sys.stdout.write(visible(text, lines=True) if is_terminal() else text)
    sys.stdout.flush()


def is_terminal() -> bool:
    """Return whether a person reads standard output."""
    return sys.stdout.isatty()
