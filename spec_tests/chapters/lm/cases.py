"""Stored cases of the language model."""

from typing import Final

from spec_tests.chapters.blocks.calls import block_config, case
from spec_tests.chapters.blocks.covering import covering_cases, covering_gradients, sized_cases
from spec_tests.port import Op, Scalar
from spec_tests.vectors.source import Family, Source

_LM: Final = Family("LM", Op.LM_FORWARD)


def _model(number: int, requirements: str, why: str, config: dict[str, Scalar], time: int) -> Source:
    return _LM.case(number, requirements, why, config, case(Op.LM_FORWARD, config, 1100 + number, time=time))


STORED: Final = (
    _model(1, "LM-1 LM-2 LM-3 LM-4 LM-5 LM-6", "two layers of omega, with state", block_config(), time=9),
    _model(
        2,
        "LM-1 LM-2 LM-3 LM-5",
        "two layers of titans, MLP, the gate of the source",
        block_config("titans", "mlp", gate="source"),
        time=6,
    ),
    *covering_cases(_LM, 95_000, "LM-1 LM-2"),
    *covering_gradients(_LM, 96_000, "LM-1 LM-2", begins=(0,)),
    *sized_cases(_LM, 97_000, "LM-1 LM-2 LM-3 LM-6"),
)
