"""The page on published models, from their presets and from the runs that compare each with its published recurrence.

A preset says its paper, its equation and where it departs from the paper; the axes are its fields. The errors are of
the preset's own rule, with its steps as printed and chunks of the sizes of the comparison, against the recurrence of
`spec_tests.package.memory.named_models`: the largest relative difference of reads, and of the gradient of every input.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import resources
from typing import NamedTuple

from atlas_ref.blocks.fast_memory import memory_rule
from atlas_ref.config import MemoryConfig, load_config, model_names
from atlas_ref.memory.rules import MemoryRule
from spec_tests.package.memory.models_words import BODY
from spec_tests.package.memory.named_models import MODELS, Model
from spec_tests.package.memory.named_runs import (
    Apart,
    apart,
    draw,
    published,
    published_mesa,
    remembered,
    rule_of,
    solved,
)

RECURRENCES = {"linear-attention": "linear attention", "mamba2": "mamba-2", "gated-deltanet": "gated deltanet"} | {
    "atlas-mlp": "atlas"
}
"""Presets whose recurrence has another name in `named_models`."""
SOLVED = "mesa"
"""The preset that is no rule: its form is `ridge_scan`."""


@dataclass(frozen=True)
class Header:
    """What the first lines of a preset say."""

    paper: str
    equation: str
    departs: str


class Errors(NamedTuple):
    """How far a preset's rule is from its recurrence; `ridge_scan` is the only form of its own."""

    recurrent: Apart | None
    chunked: Apart


def header(name: str) -> Header:
    """Return the header of a preset."""
    file = resources.files("atlas_ref") / "config" / "presets" / "models" / f"{name}.toml"
    paper, equation, departs = (line.removeprefix("# ") for line in file.read_text(encoding="utf-8").splitlines()[:3])
    return Header(paper, equation, departs.removeprefix("Departs: "))


def table_row(name: str) -> Model:
    """Return the published recurrence of a preset, with the constants that the preset gives it."""
    model = MODELS[RECURRENCES.get(name, name)]
    link, bias = load_config(name).model.memory.link, load_config(name).model.memory.bias
    own = {"scale": link.scale, "q": link.exponent, "p": bias.exponent, "s": bias.smoothing}
    return model._replace(constants={key: own.get(key, value) for key, value in model.constants.items()})


def printed_rule(name: str) -> MemoryRule:
    """Return the rule of a preset with what no paper prints left out: bounded steps, and a write in several tokens."""
    rule, chunk = memory_rule(load_config(name).model.memory), rule_of(table_row(name)).chunk
    return replace(rule, chunk=chunk, step_scale="literal", update_every=1)


def errors(name: str) -> Errors:
    """Run both sides of a preset, in both forms."""
    if name == SOLVED:
        return Errors(None, apart(published_mesa, solved, draw(None)))
    model, rule = table_row(name), printed_rule(name)
    recurrence = RECURRENCES.get(name, name)

    def compared(form: str) -> Apart:
        return apart(
            lambda x: published(model.recurrence, model.constants, x),
            lambda x: remembered(recurrence, model, x, form, rule=rule),
            draw(model),
        )

    return Errors(compared("recurrent"), compared("chunked"))


def axes(memory: MemoryConfig) -> tuple[str, ...]:
    """Return the axes of a memory in words: architecture, inner loss, retention, algorithm, chunk."""
    bias, link, gates = memory.bias, memory.link, memory.gates
    loss = {"lp": f"`lp`, p = {bias.exponent:g}"}.get(bias.kind, f"`{bias.kind}`")
    loss += f", last {memory.omega_window} tokens" if memory.omega_window > 1 else ""
    kept = {"learned": f"a gate of each {memory.gate_axis.removesuffix('s')}", "one": "everything"}
    forgets = kept.get(gates.retention_kind, f"`{gates.retention_kind}`")
    through = {"identity": "", "lq": f"; `lq`, q = {link.exponent:g}"}.get(link.kind, f"; `{link.kind}`")
    algorithm = memory.rule if memory.algorithm == "gd" else memory.algorithm
    at = ", error at the retained" if memory.error_at == "retained" and memory.algorithm == "gd" else ""
    features = f", degree {memory.features.degree}" if memory.features.degree > 1 else ""
    scale = "bounded" if memory.step_scale == "mass" else "as printed"
    return f"`{memory.architecture}`{features}", loss, forgets + through, f"`{algorithm}`{at}", str(memory.chunk), scale


def axes_table() -> Iterator[str]:
    """Yield the lines of the table of axes."""
    yield "| model | memory | inner loss | keeps | algorithm | chunk | steps |"
    yield "|---|---|---|---|---|---|---|"
    for name in model_names():
        yield f"| `{name}` | {' | '.join(axes(load_config(name).model.memory))} |"


def sources_table(measured: dict[str, Errors]) -> Iterator[str]:
    """Yield the lines of the table of equations, departures and errors."""
    yield "| model | equation | departs from its paper | loop: reads, gradients | parallel form: reads, gradients |"
    yield "|---|---|---|---|---|"
    for name, found in measured.items():
        said = header(name)
        shown = " | ".join("-" if side is None else _shown(side) for side in found)
        equation = said.equation.replace("|", "\\|")
        yield f"| {said.paper.partition(':')[0]} | `{equation}` | {said.departs} | {shown} |"


def _shown(side: Apart) -> str:
    return f"{side.reads:.0e}, {max(side.gradients.values()):.0e}"


def page(measured: dict[str, Errors]) -> str:
    """Return the whole page."""
    tables = {"axes": "\n".join(axes_table()), "sources": "\n".join(sources_table(measured))}
    return BODY.format(**tables, models=len(measured))
