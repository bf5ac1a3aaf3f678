"""Stored cases of MAC: every value of its keys, and gradients of each kind of rows."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from spec_tests.chapters.mac.calls import MAC, call, config
from spec_tests.drawing.inputs import normal
from spec_tests.drawing.pairwise import covering
from spec_tests.port import Array, Scalar
from spec_tests.vectors.source import Family, Source

_MAC: Final = Family("MAC", MAC)
AXES: Final[Mapping[str, tuple[Any, ...]]] = {
    "chunk": (2, 1),
    "rows": ("causal", "previous_segment", "learned"),
    "write_from": ("attention", "input"),
    "gate": ("convex", "source", "gated_attention", "product"),
    "inner_grad": ("full", "detached"),
}
LEAN: Final = {"key": 2, "values": 2, "tokens": 1, "window": 2, "kernel": 2, "learned": 2, "time": 6}


FEW: Final = 5
"""Cells that are stored; `test_mac_long` asks all."""


def cells() -> Iterator[tuple[dict[str, Scalar], dict[str, Array]]]:
    """Yield configurations in which every two values of every two keys meet, each with a call."""
    for number, cell in enumerate(covering(AXES)):
        # Two segments are one chunk or several long, and rows enter at different places of them.
        yield config(**cell), call(2100 + 20 * number, (5, 2 + number), span=2 + 2 * (number % 2), **LEAN)


def _covering() -> Iterator[Source]:
    for number, (given, inputs) in enumerate(islice(cells(), FEW)):
        why = f"covering: {' '.join(str(value) for value in given.values())}"
        yield _MAC.case(101 + number, "MAC-1 MAC-2 MAC-4 MAC-5", why, given, inputs)


def _gradients() -> Iterator[Source]:
    # Revision 2 is asked another cotangent: under the first, the gradient of x at one token was a fortieth of that at
    # others, and bfloat16 alone moved it by a twentieth.
    kinds = (
        ("causal", "attention", "convex", 2650, 1),
        ("previous_segment", "input", "source", 2700, 2),
        ("learned", "attention", "product", 2690, 1),
    )
    for number, (rows, source, gate, seed, revision) in enumerate(kinds):
        inputs = call(2600 + 20 * number, (7,), span=4, heads=1, **LEAN)
        given = config(rows=rows, write_from=source, gate=gate)
        made = _MAC.case(151 + number, "MAC-10", f"gradients, {rows}", given, inputs, _asked(inputs, seed))
        yield replace(made, revision=revision)


def _asked(inputs: Mapping[str, Array], seed: int) -> dict[str, Array]:
    """Return a random cotangent of y and of what the next call sees of the segment."""
    names = ("x", "segment_weights", "cache_keys", "cache_values", "weights", "momentum")
    drawn = {name: normal(seed + i, *inputs[name].shape) for i, name in enumerate(names)}
    return {"y" if name == "x" else name: value for name, value in drawn.items()}


STORED: Final = (*_covering(), *_gradients())
