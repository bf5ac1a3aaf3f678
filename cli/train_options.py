"""The options of `atlas train`, each with what it takes and what `--help` says of it."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from cli.completion import complete_preset
from cli.plan import DEFAULT_CONFIG

ConfigName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|PATH",
        help="A preset or a TOML file.",
        autocompletion=complete_preset,
        show_default=DEFAULT_CONFIG,
    ),
]
AllSpecialisations = Annotated[
    bool, typer.Option("--all-specialisations", help="Train the three of cognate-27m in turn, and compare them.")
]
MaxSteps = Annotated[int | None, typer.Option(min=1, help="Optimiser steps in all.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Seed of the weights and of the data.")]
Device = Annotated[Literal["auto", "cpu", "cuda"] | None, typer.Option(help="Where to compute.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads.")]
Precision = Annotated[Literal["fp32", "bf16"] | None, typer.Option(help="Precision of matrix products.")]
WithoutMemory = Annotated[bool, typer.Option("--disable-memory", help="Train without memory.")]
Tensorboard = Annotated[
    bool | None, typer.Option("--tensorboard/--no-tensorboard", help="Write TensorBoard event files too.")
]
Wandb = Annotated[
    bool | None,
    typer.Option("--wandb/--no-wandb", help="Log to W&B too, offline unless WANDB_MODE says more."),
]
Watch = Annotated[
    bool, typer.Option("--watch", help="Show the run on a page in the browser, as atlas watch does, while it trains.")
]
Out = Annotated[Path | None, typer.Option(metavar="DIR", help="Run directory.", show_default="runs/CONFIG-SEED")]
Resume = Annotated[
    str | None, typer.Option(metavar="auto|PATH", help="Go on from the newest checkpoint of --out, or from PATH.")
]
SkipPreflight = Annotated[
    str | None,
    typer.Option(metavar="REASON", help="Train without a certificate; every report of the run shows the reason."),
]
