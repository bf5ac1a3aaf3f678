"""Stored cases of the block with two marks."""

from typing import Final

from spec_tests.chapters.marks.calls import config, marked
from spec_tests.drawing.inputs import normal
from spec_tests.port import Op
from spec_tests.vectors.source import Family, Source

_MARK: Final = Family("MARK", Op.MAG_BLOCK_MARKS)
BEGUN: Final = "MARK-1 MARK-2 MARK-3 MARK-4 MARK-6 MARK-7"


def _gradient(number: int, projection: str, chunk: int) -> Source:
    inputs = marked(1800 + number, batch=1, heads=1, kernel=2, span=3, tokens=1, time=7)
    shapes = {name: inputs[name].shape for name in ("x", "tail", "carry", "weights", "momentum", "anchor")}
    shapes |= {name: inputs[name].shape for name in ("cache_keys", "cache_values", "window_keys", "window_values")}
    seeds = enumerate(shapes.items(), 1850 + 20 * number)
    asked = {"y" if name == "x" else name: normal(seed, *shape) for seed, (name, shape) in seeds}
    why = f"gradients through both parts over their marks, projection {projection}"
    return _MARK.case(number, "MARK-8", why, config(chunk, projection), inputs, asked)


STORED: Final = (
    _MARK.case(1, BEGUN, "a context and a memory begin apart, queries projected", config(), marked(1801)),
    _MARK.case(
        2,
        BEGUN,
        "chunks of three, queries projected and bounded, windows as long as the call",
        config(3, "frobenius_tanh"),
        marked(1802, span=9, heads=1, batch=3),
    ),
    _MARK.case(
        3, BEGUN, "chunks of one, no projection", config(1, "none"), marked(1803, span=2, kernel=2, heads=1, tokens=1)
    ),
    _gradient(4, "tnt", 2),
    _gradient(5, "frobenius_tanh", 4),
    _gradient(6, "none", 3),
)
