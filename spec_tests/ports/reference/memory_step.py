"""One token of the memory, by the reference."""

from collections.abc import Mapping
from typing import Final

from atlas_ref.memory.recurrent import memory_recurrent
from spec_tests.port import Op
from spec_tests.ports.reference.memory import TOKENS, memory, traces
from spec_tests.ports.reference.tensors import Config, Function, Tensors


def _memory_step(config: Config, x: Tensors) -> Tensors:
    outputs = memory(memory_recurrent, config, x | {name: x[name].unsqueeze(1) for name in TOKENS})
    return outputs | {"reads": outputs["reads"].squeeze(1)}


def _step_traces(config: Config, x: Tensors) -> Tensors:
    shown = traces(config, x | {name: x[name].unsqueeze(1) for name in TOKENS})
    return {"gradient": shown["gradient"].squeeze(1)}


FUNCTIONS: Final[Mapping[Op, Function]] = {Op.MEMORY_STEP: _memory_step}
TAPS: Final[Mapping[Op, Function]] = {Op.MEMORY_STEP: _step_traces}
