"""Attention over a sliding window, by the reference."""

from collections.abc import Mapping
from typing import Any, Final

from atlas_ref.functional.attention import sliding_window_attention
from atlas_ref.functional.normalize import at_least_float32
from spec_tests.port import Op
from spec_tests.ports.reference.tensors import Config, Function, Tensors


def _sliding_window_attention(config: Config, x: Tensors) -> Tensors:
    # A kernel for bfloat16 rounds the weights of the softmax too: here an activation is rounded once, when it leaves.
    wide = {name: at_least_float32(value) for name, value in x.items() if value.is_floating_point()}
    inputs: dict[str, Any] = {**x, **wide}
    output, cache_keys, cache_values = sliding_window_attention(**inputs, window=config["window"])
    return {"output": output.to(x["queries"].dtype), "cache_keys": cache_keys, "cache_values": cache_values}


FUNCTIONS: Final[Mapping[Op, Function]] = {Op.SLIDING_WINDOW_ATTENTION: _sliding_window_attention}
