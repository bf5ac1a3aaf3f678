"""Which combinations of the axes of a rule have no meaning, and why: what `MemoryRule` refuses, a sentence each."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from atlas_ref.memory.rules import MemoryRule


def reasons_against(rule: "MemoryRule") -> Iterator[str]:
    """Yield a sentence for everything in `rule` that excludes another: what is set, what is valid, and the reason."""
    yield from _losses_cut(rule)
    yield from _no_bound(rule)
    yield from _no_exact_form(rule)
    yield from _no_such_retention(rule)


def _losses_cut(rule: "MemoryRule") -> Iterator[str]:
    """Yield why losses cannot be gathered where the rule or its window is for one token at a time."""
    every = rule.update_every
    if every < 1:
        yield f"memory rule: the memory is written every {every} tokens, valid is 1 or more"
    elif rule.name == "delta" and every != 1:
        yield f"rule 'delta' writes one token at a time: it is written every {every} tokens, valid is 1"
    elif rule.boundary == "truncate" and rule.chunk % every:
        yield (
            f"window boundary 'truncate' ends losses with their chunk: {rule.chunk} tokens of a chunk are no "
            f"multiple of the {every} whose losses are written together"
        )


def _no_bound(rule: "MemoryRule") -> Iterator[str]:
    """Yield why steps cannot be bounded by the curvature of the loss."""
    if rule.step_scale == "mass" and rule.architecture == "mlp_glu":
        yield (
            f"architecture '{rule.architecture}' has step_scale 'mass', valid is 'literal': no bound of its curvature "
            "is known"
        )
    if rule.step_scale == "mass" and rule.bias.name == "yaad_printed":
        yield "bias 'yaad_printed' has step_scale 'mass', valid is 'literal': it jumps, so nothing bounds its slope"
    if rule.step_scale == "mass" and rule.algorithm == "implicit":
        yield "algorithm 'implicit' has step_scale 'mass', valid is 'literal': it is stable for every step as it is"


def _no_exact_form(rule: "MemoryRule") -> Iterator[str]:
    """Yield why an error at the retained memory, or an implicit step, is not defined."""
    named = {"error_at": rule.error_at, "algorithm": rule.algorithm}
    asked = [f"{key} '{value}'" for key, value in named.items() if value in ("retained", "implicit")]
    if not asked:
        return
    found = {
        "rule": (rule.name, "delta"),
        "architecture": (rule.architecture, "matrix"),
        "chunk": (rule.chunk, 1),
        "link": (rule.link.name, "identity"),
        "bias": (rule.bias.name, "l2"),
        "retention": (rule.retention, "dual"),
    }
    for key, (value, valid) in found.items():
        if value != valid:
            yield (
                f"{asked[0]} has {key} '{value}', valid is '{valid}': it is a step of one token on a matrix, solved in "
                "closed form"
            )


def _no_such_retention(rule: "MemoryRule") -> Iterator[str]:
    """Yield why the memory cannot be retained so."""
    if rule.gate_axis != "head" and rule.architecture != "matrix":
        yield (
            f"gate_axis '{rule.gate_axis}' has architecture '{rule.architecture}', valid is 'matrix': hidden units are "
            "neither values nor features"
        )
    if rule.gate_axis == "columns" and rule.link.name == "softmax":
        yield (
            "gate_axis 'columns' has link 'softmax', valid is 'head' or 'rows': logits are known up to a constant of "
            "each row, which gates of columns would tell apart"
        )
    if rule.retention == "proximal_elastic" and rule.link.name != "identity":
        yield (
            f"retention 'proximal_elastic' has link '{rule.link.name}', valid is 'identity': it shrinks the weights "
            "themselves"
        )
