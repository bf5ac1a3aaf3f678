"""Stored cases of checkpoints of the memory."""

from typing import Any, Final

from spec_tests.chapters.memory_step.calls import rule
from spec_tests.chapters.memory_step.covering import covering_cases, sized_cases
from spec_tests.chapters.memory_step.stored_calls import call
from spec_tests.port import Op, Scalar
from spec_tests.vectors.source import Family, Source

_CKPT: Final = Family("CKPT", Op.CHECKPOINT_ROUND_TRIP)


def _saved(number: int, requirements: str, why: str, config: dict[str, Scalar], split: int, **changes: Any) -> Source:
    inputs = call(config, 1200 + number, position=(2, 7), **changes)
    return _CKPT.case(number, requirements, why, {**config, "split": split}, inputs)


STORED: Final = (
    _saved(1, "CKPT-1 CKPT-2 CKPT-3", "titans, interrupted inside a chunk", rule("titans"), 5),
    _saved(2, "CKPT-1 CKPT-2 CKPT-3", "omega, MLP, a long window", rule("omega", "mlp"), 3, window=5, time=7),
    _saved(3, "CKPT-1", "interrupted before the first token", rule("omega"), 0, time=4),
    *covering_cases(_CKPT, 101, 70_000, split=(2, 0, 5, 3)),
    *sized_cases(_CKPT, 161, 72_000, split=2),
)
