"""`atlas export`: a trained model as one safetensors file, with everything that another program needs to use it."""

from pathlib import Path
from typing import Annotated

import typer

from cli.console import say


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory or a checkpoint.")],
    out: Annotated[Path, typer.Argument(metavar="DIR", help="A directory that is new or empty.")],
) -> None:
    """Write a saved model for other programs.

    DIR gets model.safetensors, config.json, names.md (what each tensor is) and, for byte pairs, tokenizer.json.
    """
    from atlas_ref.places import check_unused
    from atlas_ref.storage.checkpoint import find_checkpoint
    from atlas_ref.training.export import export as export_model

    check_unused(out, "an export")
    checkpoint = find_checkpoint(run)
    written = export_model(checkpoint, out)
    say(f"{written.parameters:,} parameters of step {checkpoint.step}, {written.bytes:,} bytes, are in {out}")
