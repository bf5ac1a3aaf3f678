"""Stored cases of LMM."""

from typing import Final

from spec_tests.chapters.lmm.calls import config
from spec_tests.chapters.mal.calls import call
from spec_tests.drawing.inputs import normal
from spec_tests.port import Op
from spec_tests.vectors.source import Family, Source

_LMM: Final = Family("LMM", Op.LMM_BLOCK)
BEGUN: Final = "LMM-1 LMM-2 LMM-3 LMM-4"
LEAN: Final = {"key": 2, "values": 2, "window": 2, "kernel": 2}


def _gradient(number: int, floor: float, inner_grad: str) -> Source:
    inputs = call(Op.LMM_BLOCK, 2900 + number, (7,), heads=1, time=5, **LEAN)
    names = ("x", *(("weights", "momentum") if inner_grad == "full" else ()))
    drawn = {name: normal(2950 + 20 * number + i, *inputs[name].shape) for i, name in enumerate(names)}
    asked = {"y" if name == "x" else name: value for name, value in drawn.items()}
    given = config(floor=floor, inner_grad=inner_grad)
    return _LMM.case(number, "LMM-5", f"gradients, reads {inner_grad}", given, inputs, asked)


STORED: Final = (
    _LMM.case(1, BEGUN, "a floor under the gate, a document begins", config(), call(Op.LMM_BLOCK, 2711)),
    _LMM.case(2, BEGUN, "chunks of three, no floor", config(chunk=3, floor=0.0), call(Op.LMM_BLOCK, 2712, (9, 2))),
    _LMM.case(3, "LMM-1 LMM-2", "one token a call", config(), call(Op.LMM_BLOCK, 2713, (5, 10), time=1, **LEAN)),
    _gradient(4, 0.2, "full"),
    _gradient(5, 0.0, "detached"),
)
