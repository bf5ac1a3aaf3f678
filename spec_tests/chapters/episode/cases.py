"""Stored cases of episodes: rows with answers of one and more tokens, and losses of both phases."""

from typing import Final

import numpy as np

from spec_tests.chapters.episode.calls import MASK, pieces, scored
from spec_tests.drawing.inputs import normal
from spec_tests.port import Op
from spec_tests.vectors.source import Family

_ROWS: Final = Family("EPROW", Op.EPISODE_ROWS)
_LOSS: Final = Family("EPLOSS", Op.EPISODE_LOSS)
_TEN: Final = {"storage": 1.0, "retrieval": 10.0}

STORED: Final = (
    _ROWS.case(1, "EPI-1 EPI-2 EPI-3 EPI-4 EPI-5 EPI-6", "two rows of two pieces", {"mask": MASK}, pieces(2410)),
    _ROWS.case(101, "EPI-2 EPI-3", "one long piece in a row", {"mask": MASK}, pieces(2420, 3, 1, 30)),
    _LOSS.case(
        1,
        "EPI-7 EPI-8 EPI-9",
        "ten times what is retrieved, with gradients",
        _TEN,
        scored(2430),
        {"losses": normal(2432, 3)},
    ),
    _LOSS.case(
        2,
        "EPI-7",
        "storage alone",
        _TEN,
        {**scored(2440), "retrieved": np.zeros((3, 6), dtype=np.int64)},
    ),
    _LOSS.case(3, "EPI-7", "five rows", {"storage": 2.0, "retrieval": 0.5}, scored(2460, 5)),
    _LOSS.case(101, "EPI-7", "a long row", {"storage": 0.5, "retrieval": 3.0}, scored(2450, 1, 70, 4)),
)
