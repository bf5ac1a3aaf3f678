"""Words in place of the numbers that gates start from: what fits the span of the data and the chunk of the memory.

    retention_init = "span"     KEPT^(1 / n), n tokens back to the farthest answer (`span`)
    step_init = "chunk"         eta = min(STEADY, b + N h): a token's write weighs w = min(STEADY / (b + N h), 1)
    step_max = "chunk"          4/3 of that, so that the gate starts at three quarters

b + N h are the tokens during which a stale gradient acts (`rules`: a chunk, and the horizon of the momentum). `mass`
divides a step by them, so that w = eta / (b + N h); `literal` does not, and its eta is w itself. A pair is written
once, and every token beside it too: what it leaves is heard over those only where w is large. At w = 1 one write puts
its value in full, and more is never of use. The keys of a chunk are alike in part: w (b + N h) must stay below about 2
over the share that their most common direction has (docs/preflight.md has the figures).

What a word stands for is written out where a run is loaded, so that only numbers are shown and stored.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError

from atlas_ref.config.data import DataConfig
from atlas_ref.config.memory import MemoryConfig
from atlas_ref.config.span import DIGITS, SPANNED, retention_over

CHUNKED: Final = "chunk"
"""What `step_init` and `step_max` may be in place of numbers."""
STEADY: Final = 3.0
"""Largest w (b + N h) of a start: with 6 a chunk of 64 overshoots on recall."""
ROOM: Final = 4.0 / 3.0
"""The bound of the step over its start."""
GATES: Final = ("model", "memory", "gates")


def fitted_step(config: MemoryConfig) -> float:
    """Return the step that fits the chunk of a memory (module docstring), rounded to DIGITS decimals."""
    gates, scaled = config.gates, config.step_scale == "mass"
    remembered = config.rule != "delta" and gates.momentum_kind == "learned"
    horizon = gates.momentum_max / (1.0 - gates.momentum_max) if remembered else 0.0
    tokens = ((config.step_chunk or config.chunk) if scaled else config.chunk) + config.ttl_update_frequency * horizon
    return round(min(STEADY, tokens) / (1.0 if scaled else tokens), DIGITS)


def written_out(table: Any) -> Any:
    """Return the table of a run with the numbers that words stand for.

    Where the data say no span, or the memory no step, their own sentence is the one to read: any number does.
    """
    if found(table, *GATES, "retention_init") == SPANNED:
        table = replaced(table, (*GATES, "retention_init"), _retention(table))
    words = [name for name in ("step_init", "step_max") if found(table, *GATES, name) == CHUNKED]
    if words:
        step = _step(table, words)
        for name in words:
            table = replaced(table, (*GATES, name), step if name == "step_init" else round(ROOM * step, DIGITS))
    return table


def _retention(table: Any) -> float:
    try:
        data = DataConfig.model_validate(table.get("data"))
    except ValidationError:
        return 0.5
    return retention_over(data.span.farthest)


def _step(table: Any, words: Sequence[str]) -> float:
    """Return the fitted step, whatever numbers stand in place of the words meanwhile."""
    for name in words:
        table = replaced(table, (*GATES, name), {"step_init": 1e-6, "step_max": 100.0}[name])
    try:
        return fitted_step(MemoryConfig.model_validate(found(table, "model", "memory")))
    except ValidationError:
        return 0.5


def found(table: Any, *path: str) -> Any:
    """Return what lies at a path of nested tables, None where they do not reach so far."""
    for name in path:
        table = table.get(name) if isinstance(table, dict) else None
    return table


def replaced(table: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """Return nested tables with another value at a path that they have."""
    name, *rest = path
    return {**table, name: replaced(table[name], rest, value) if rest else value}
