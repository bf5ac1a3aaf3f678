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
    from atlas_ref.config.cognate import CognateConfig
    from atlas_ref.config.perceptron import PerceptronConfig
    from atlas_ref.config.transformer import TransformerConfig
    from atlas_ref.models import cognate_tensors, perceptron_tensors, transformer_tensors
    from atlas_ref.models.tensors import count_parameters

    table = Table("preset", "parameters", "layers", "width", "heads", "memory", "steps", box=None, pad_edge=False)
    for name in preset_names():
        config = load_config(name)
        model = config.any_model
        # Not by the registry of families, which would load torch to print a table.
        if isinstance(model, PerceptronConfig):
            size, width = perceptron_tensors.count_parameters(model), str(model.d_model or model.hidden[0])
            shape = (str(len(model.hidden) + 1), width, "0")
            table.add_row(name, f"{size / 1e6:.1f} M", *shape, "none", str(config.train.max_steps))
            continue
        if isinstance(model, TransformerConfig):
            size, memory = transformer_tensors.count_parameters(model), "none"
        elif isinstance(model, CognateConfig):
            size, memory = cognate_tensors.count_parameters(model), f"{model.recursion.nets} recursion"
        else:
            size, memory = count_parameters(model), f"{model.memory.rule} {model.memory.architecture}"
        shape = (str(model.n_layers), str(model.d_model), str(model.n_heads))
        table.add_row(name, f"{size / 1e6:.1f} M", *shape, memory, str(config.train.max_steps))
    models = Table("published model", "memory", "bias", "link", "retention", "algorithm", box=None, pad_edge=False)
    for name in model_names():
        kind = load_config(name).model.memory
        forgets = kind.gate_axis if kind.gates.retention_kind == "learned" else kind.gates.retention_kind
        steps = kind.algorithm if kind.algorithm != "gd" else kind.rule
        models.add_row(name, kind.architecture, kind.bias.kind, kind.link.kind, forgets, steps)
    console = Console()
    console.print(table)
    console.print(models)
