"""One token of the memory, by titans-pytorch."""

from collections.abc import Mapping
from typing import Final

from spec_tests.port import Op
from spec_tests.ports.titans_pytorch.memory import remember
from spec_tests.ports.titans_pytorch.tensors import Config, Function, Tensors


def _memory_step(config: Config, x: Tensors) -> Tensors:
    tokens = {name: x[name].unsqueeze(1) for name in _TOKENS}
    outputs = remember(config, x | tokens, one_by_one=True)
    return outputs | {"reads": outputs["reads"].squeeze(1)}


_TOKENS: Final = ("keys", "values", "queries", "retention", "momentum_decay", "step_size", "window_weights", "reset")
FUNCTIONS: Final[Mapping[Op, Function]] = {Op.MEMORY_STEP: _memory_step}
