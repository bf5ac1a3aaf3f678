"""The grid of the axes of MIRAS: every two values that mean something together meet in one of its cells."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

from spec_tests.chapters.bias.error_maps import BIASES
from spec_tests.chapters.link.links import LINKS
from spec_tests.chapters.memory_step.calls import RULES
from spec_tests.chapters.miras_scan.architectures import ARCHITECTURES
from spec_tests.chapters.miras_scan.calls import axes
from spec_tests.contract.operations import OPERATIONS
from spec_tests.drawing.pairwise import covering
from spec_tests.port import Op, Scalar

GRID: Final[Mapping[str, tuple[Any, ...]]] = {
    "architecture": ARCHITECTURES,
    "rule": RULES,
    "chunk": (3, 1),
    "boundary": ("carry", "truncate"),
    "read": ("post", "pre", "anchor"),
    "loss_scale": (0.5, 1.0),
    "step_scale": ("literal", "mass"),
    "momentum_max": (0.9, 0.0),
    "coefficients": ("cubic", "quintic", "polar_express"),
    "newton_schulz_steps": (1, 0),
    "bias": BIASES,
    "exponent": (3.0, 1.5),
    "smoothing": (0.1, 0.3),
    "link": tuple(LINKS),
    "link_exponent": (3.0, 2.5),
    "link_scale": (2.0, 0.5),
    "level": (0.05, 0.0),
    "retention": ("dual", "proximal_elastic"),
    "error_at": ("previous", "retained"),
    "gate_axis": ("head", "rows", "columns"),
    "algorithm": ("gd", "implicit"),
}


@cache
def _cells(op: Op) -> tuple[dict[str, Scalar], ...]:
    row = OPERATIONS[op]
    grid = {key: _options(row.config[key], values) for key, values in GRID.items()}
    return tuple(covering(grid, mended=row.mended))


def _options(kind: object, values: tuple[Any, ...]) -> tuple[Any, ...]:
    return kind if isinstance(kind, tuple) else values


def cells(op: Op) -> Iterator[dict[str, Scalar]]:
    """Yield configurations of a form in which every two values of every two keys meet."""
    yield from (axes(**cell) for cell in _cells(op))
