"""Attention over a sliding window, by the reference."""

from collections.abc import Mapping
from typing import Final

from atlas_ref.functional.attention import sliding_window_attention
from spec_tests.port import Op
from spec_tests.ports.reference.tensors import Config, Function, Tensors


def _sliding_window_attention(config: Config, x: Tensors) -> Tensors:
    output, cache_keys, cache_values = sliding_window_attention(**x, window=config["window"])
    return {"output": output, "cache_keys": cache_keys, "cache_values": cache_values}


FUNCTIONS: Final[Mapping[Op, Function]] = {Op.SLIDING_WINDOW_ATTENTION: _sliding_window_attention}
