"""Stored cases of the block."""

from typing import Final

from spec_tests.chapters.blocks.calls import SIZES, block_config, case
from spec_tests.chapters.blocks.covering import covering_cases, covering_gradients, sized_cases
from spec_tests.drawing.inputs import normal
from spec_tests.port import Array, Op, Scalar
from spec_tests.vectors.source import Family, Source

_BLOCK: Final = Family("BLOCK", Op.MAG_BLOCK)
ALL: Final = "BLOCK-1 BLOCK-2 BLOCK-3 BLOCK-4 BLOCK-5 BLOCK-7 BLOCK-8 BLOCK-9"


def _cotangent(seed: int, time: int) -> dict[str, Array]:
    return {"y": normal(seed, SIZES["batch"], time, SIZES["model"])}


def _block(number: int, requirements: str, why: str, config: dict[str, Scalar], time: int = 9) -> Source:
    return _BLOCK.case(number, requirements, why, config, case(Op.MAG_BLOCK, config, 1000 + number, time=time))


def _gradient(number: int, why: str, config: dict[str, Scalar]) -> Source:
    inputs = case(Op.MAG_BLOCK, config, 1000 + number, time=5)
    return _BLOCK.case(number, "BLOCK-10", why, config, inputs, _cotangent(1050 + number, 5))


STORED: Final = (
    _block(1, ALL, "omega, the learned gate with a floor", block_config()),
    _block(
        2,
        f"{ALL} BLOCK-6",
        "titans, MLP, the gate of the source, queries projected",
        block_config("titans", "mlp", gate="source", projection="tnt"),
    ),
    _block(
        3,
        f"{ALL} BLOCK-6",
        "atlas, queries projected and bounded, no floor",
        block_config("atlas", projection="frobenius_tanh", floor=0.0),
    ),
    _block(4, "BLOCK-2 BLOCK-7", "one token a call", block_config(rope_base=3.0, span=4), time=1),
    _gradient(5, "gradients through attention and memory", block_config()),
    _gradient(6, "reads as constants: the memory gets no gradient", block_config(inner_grad="detached")),
    _block(
        7, "BLOCK-11", "persistent tokens are written before a document", block_config(persistent_in_memory=True), 5
    ),
    *covering_cases(_BLOCK, 90_000),
    *covering_gradients(_BLOCK, 91_000, "BLOCK-10"),
    *sized_cases(_BLOCK, 92_000, ALL),
)
