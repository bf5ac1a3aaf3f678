"""Stored cases of the recursion, and of the loss of its answers."""

from typing import Final

import numpy as np

from spec_tests.chapters.trm.calls import trm_inputs
from spec_tests.drawing.inputs import normal
from spec_tests.port import Op, Scalar
from spec_tests.vectors.source import Family

_TRM: Final = Family("TRM", Op.TRM_RECURSION)
_LOSS: Final = Family("SUPER", Op.SUPERVISED_LOSS)
_POSITION: Final = np.array([[0, 1, 2, 0, 1], [3, 4, 5, 6, 7]])


def _config(micro_steps: int, recursions: int, without: int, window: int) -> dict[str, Scalar]:
    return {
        "micro_steps": micro_steps,
        "recursions": recursions,
        "no_grad_recursions": without,
        "window": window,
        "norm_eps": 1e-3,
    }


STORED: Final = (
    _TRM.case(
        1,
        "TRM-1 TRM-2 TRM-3 TRM-4 TRM-5 TRM-6",
        "two recursions of two refinements, of which the last is learned; documents out of phase, with gradients",
        _config(2, 2, 1, 3),
        trm_inputs(1700, _POSITION),
        {"answer": normal(1711, 2, 5, 4), "latent": normal(1712, 2, 5, 4)},
    ),
    _TRM.case(
        2,
        "TRM-1 TRM-2 TRM-5",
        "two recursions that are both learned, one refinement each, a window of two",
        _config(1, 2, 0, 2),
        trm_inputs(1720, _POSITION[:, :3]),
        {"answer": normal(1731, 2, 3, 4)},
    ),
    _TRM.case(
        101,
        "TRM-1 TRM-4",
        "one refinement of a row of nine tokens, each of which sees the others before it",
        _config(3, 1, 0, 9),
        trm_inputs(1740, np.arange(9)[None]),
    ),
    _LOSS.case(
        1,
        "TRM-7",
        "four answers, weights that rise, with gradients",
        {},
        {"losses": 1.0 + normal(1750, 3, 4) ** 2, "weights": np.array([0.33, 0.5, 0.75, 1.0])},
        {"loss": np.array([1.0, -0.5, 2.0])},
    ),
    _LOSS.case(
        101,
        "TRM-7",
        "one answer, and one of weight zero among seventy",
        {},
        {"losses": 1.0 + normal(1751, 2, 70) ** 2, "weights": np.r_[0.0, np.linspace(0.1, 1.0, 69)]},
    ),
)
