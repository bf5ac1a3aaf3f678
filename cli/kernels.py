"""`atlas kernels`: the fast form of the memory on a CPU, which is compiled once and only when asked."""

import typer

from cli.console import say

HELP = "Compile the fast form of the memory on a CPU."

app = typer.Typer(no_args_is_help=True, help=HELP, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Keep the name of a single command in the command line."""


@app.command("build")
def build() -> None:
    """Compile the kernels of the memory for this processor.

    Needs g++ or clang++ (CXX names another) for some ten seconds; from then on
    model.kernels = auto takes them on a CPU.
    """
    from atlas_ref.memory.kernels import cpu_library

    path = cpu_library.build()
    say(f"the kernels for a CPU are built ({cpu_library.instructions()}); model.kernels = auto takes them: {path}")
