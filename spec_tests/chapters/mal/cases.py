"""Stored cases of MAL."""

from typing import Final

from spec_tests.chapters.mal.calls import call, config
from spec_tests.drawing.inputs import normal
from spec_tests.port import Op
from spec_tests.vectors.source import Family, Source

_MAL: Final = Family("MAL", Op.MAL_BLOCK)
BEGUN: Final = "MAL-1 MAL-3 MAL-4 MAL-5"
LEAN: Final = {"key": 2, "values": 2, "tokens": 1, "window": 2, "kernel": 2}


def _gradient(number: int, inner_residual: bool, inner_grad: str) -> Source:
    inputs = call(Op.MAL_BLOCK, 2800 + number, (7,), heads=1, time=5, **LEAN)
    names = ("x", "cache_keys", "cache_values", *(("weights", "momentum") if inner_grad == "full" else ()))
    drawn = {name: normal(2850 + 20 * number + i, *inputs[name].shape) for i, name in enumerate(names)}
    asked = {"y" if name == "x" else name: value for name, value in drawn.items()}
    given = config(inner_residual=inner_residual, inner_grad=inner_grad)
    return _MAL.case(number, "MAL-6", f"gradients, reads {inner_grad}", given, inputs, asked)


STORED: Final = (
    _MAL.case(1, BEGUN, "attention over reads, a document begins", config(), call(Op.MAL_BLOCK, 2701)),
    _MAL.case(
        2,
        f"{BEGUN} MAL-2",
        "two sublayers, chunks of three",
        config(inner_residual=True, chunk=3),
        call(Op.MAL_BLOCK, 2702, (9, 2), span=4),
    ),
    _MAL.case(3, "MAL-1 MAL-3", "one token a call", config(), call(Op.MAL_BLOCK, 2703, (5, 10), time=1, **LEAN)),
    _gradient(4, False, "full"),
    _gradient(5, True, "full"),
    _gradient(6, True, "detached"),
    _gradient(7, False, "detached"),
    _MAL.case(
        8,
        "MAL-7 MAL-3",
        "persistent tokens are written before a document",
        config(persistent_in_memory=True, chunk=1),
        call(Op.MAL_BLOCK, 2708, (5, 0), time=5, **{**LEAN, "tokens": 2}),
    ),
)
