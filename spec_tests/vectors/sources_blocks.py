"""Cases of the block, of the language model and of checkpoints."""

from typing import Any, Final

from spec_tests.block_cases import SIZES, block_config, case
from spec_tests.memory_cases import rule
from spec_tests.port import Array, Op, Scalar
from spec_tests.vectors.memory_inputs import call
from spec_tests.vectors.source import Family, Source
from spec_tests.vectors.sources_matrices import normal

_BLOCK: Final = Family("BLOCK", Op.MAG_BLOCK)
_LM: Final = Family("LM", Op.LM_FORWARD)
_CKPT: Final = Family("CKPT", Op.CHECKPOINT_ROUND_TRIP)

ALL: Final = "BLOCK-1 BLOCK-2 BLOCK-3 BLOCK-4 BLOCK-5 BLOCK-7 BLOCK-8 BLOCK-9"


def _cotangent(seed: int, time: int) -> dict[str, Array]:
    return {"y": normal(seed, SIZES["batch"], time, SIZES["model"])}


def _block(number: int, requirements: str, why: str, config: dict[str, Scalar], time: int = 9) -> Source:
    return _BLOCK.case(number, requirements, why, config, case(Op.MAG_BLOCK, config, 1000 + number, time=time))


def _gradient(number: int, why: str, config: dict[str, Scalar]) -> Source:
    inputs = case(Op.MAG_BLOCK, config, 1000 + number, time=5)
    return _BLOCK.case(number, "BLOCK-10", why, config, inputs, _cotangent(1050 + number, 5))


BLOCKS: Final = (
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
)


def _model(number: int, requirements: str, why: str, config: dict[str, Scalar], time: int) -> Source:
    return _LM.case(number, requirements, why, config, case(Op.LM_FORWARD, config, 1100 + number, time=time))


MODELS: Final = (
    _model(1, "LM-1 LM-2 LM-3 LM-4 LM-5 LM-6", "two layers of omega, with state", block_config(), time=9),
    _model(
        2,
        "LM-1 LM-2 LM-3 LM-5",
        "two layers of titans, MLP, the gate of the source",
        block_config("titans", "mlp", gate="source"),
        time=6,
    ),
)


def _saved(number: int, requirements: str, why: str, config: dict[str, Scalar], split: int, **changes: Any) -> Source:
    inputs = call(config, 1200 + number, position=(2, 7), **changes)
    return _CKPT.case(number, requirements, why, {**config, "split": split}, inputs)


CHECKPOINTS: Final = (
    _saved(1, "CKPT-1 CKPT-2 CKPT-3", "titans, interrupted inside a chunk", rule("titans"), 5),
    _saved(2, "CKPT-1 CKPT-2 CKPT-3", "omega, MLP, a long window", rule("omega", "mlp"), 3, window=5, time=7),
    _saved(3, "CKPT-1", "interrupted before the first token", rule("omega"), 0, time=4),
)

LEVEL_FOUR: Final = (*BLOCKS, *MODELS, *CHECKPOINTS)
