"""`atlas config`: the shipped presets, and the complete config that a run would use."""

from typing import Annotated

import typer

from cli.completion import complete_preset
from cli.overrides import Overrides, refuse_contradictions

app = typer.Typer(help="Show the presets and complete configs.", no_args_is_help=True, rich_markup_mode=None)


@app.command("show")
def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME|PATH", help="A preset or a TOML file.", autocompletion=complete_preset)
    ] = "tiny",
    overrides: Overrides = None,
) -> None:
    """Print a complete config as TOML, after its overrides."""
    from atlas_ref.config import load_config, to_toml

    refuse_contradictions(overrides, {})
    typer.echo(to_toml(load_config(name, overrides or ())), nl=False)


@app.command("list")
def list_presets() -> None:
    """Print the shipped presets, and the published models."""
    from rich.console import Console
    from rich.table import Table

    from atlas_ref.config import load_config, model_names, preset_names
    from atlas_ref.models.tensors import count_parameters

    table = Table("preset", "parameters", "layers", "width", "heads", "memory", "steps", box=None, pad_edge=False)
    for name in preset_names():
        config = load_config(name)
        model = config.model
        table.add_row(
            name,
            f"{count_parameters(model) / 1e6:.1f} M",
            *(str(value) for value in (model.n_layers, model.d_model, model.n_heads)),
            f"{model.memory.rule} {model.memory.architecture}",
            str(config.train.max_steps),
        )
    models = Table("published model", "memory", "bias", "link", "retention", "algorithm", box=None, pad_edge=False)
    for name in model_names():
        memory = load_config(name).model.memory
        forgets = memory.gate_axis if memory.gates.retention_kind == "learned" else memory.gates.retention_kind
        steps = memory.algorithm if memory.algorithm != "gd" else memory.rule
        models.add_row(name, memory.architecture, memory.bias.kind, memory.link.kind, forgets, steps)
    console = Console()
    console.print(table)
    console.print(models)
