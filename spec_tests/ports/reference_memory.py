"""The memory operations of the reference port: packed arrays in, one form of the memory, packed arrays out."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor

from atlas_ref.functional.normalize import at_least_float32
from atlas_ref.memory.chunked import memory_chunked
from atlas_ref.memory.recurrent import MemoryOutput, memory_recurrent
from atlas_ref.memory.rules import Gates, MemoryRule
from atlas_ref.memory.state import MemoryState
from spec_tests.port import Op

Tensors = dict[str, Tensor]
Config = Mapping[str, Any]
Function = Callable[[Config, Tensors], Tensors]
Form = Callable[..., MemoryOutput]

TOKENS: Final = ("keys", "values", "queries", "retention", "momentum_decay", "step_size", "window_weights", "reset")


def memory_rule(config: Config) -> MemoryRule:
    """Return the rule that the configuration names: the same keys, but for `rule` itself."""
    return MemoryRule(name=config["rule"], **{key: value for key, value in config.items() if key != "rule"})


def unpack(architecture: str, packed: Tensor, features: int, values: int) -> tuple[Tensor, ...]:
    """Return the matrices [..., out, in] of a vector of parameters."""
    if architecture == "matrix":
        return (torch.unflatten(packed, -1, (values, features)),)
    hidden = packed.shape[-1] // (values + features)
    outer, inner = torch.split(packed, [values * hidden, hidden * features], dim=-1)
    return torch.unflatten(outer, -1, (values, hidden)), torch.unflatten(inner, -1, (hidden, features))


def pack(matrices: tuple[Tensor, ...]) -> Tensor:
    """Return the vector of parameters: the inverse of `unpack`."""
    return torch.cat([matrix.flatten(-2) for matrix in matrices], dim=-1)


def _memory(form: Form, config: Config, x: Tensors) -> Tensors:
    rule = memory_rule(config)
    keys, values, queries = (at_least_float32(x[name]) for name in ("keys", "values", "queries"))
    matrices = partial(unpack, rule.architecture, features=keys.shape[-1], values=values.shape[-1])
    reads, state = form(
        rule,
        keys,
        values,
        queries,
        Gates(x["retention"], x["momentum_decay"], x["step_size"], x["window_weights"]),
        matrices(x["initial"]),
        MemoryState(
            matrices(x["weights"]),
            matrices(x["momentum"]),
            matrices(x["anchor"]),
            x["window_keys"],
            x["window_values"],
            x["position"],
        ),
        x["reset"].bool(),
    )
    return {
        "reads": reads.to(x["values"].dtype),
        "weights": pack(state.weights),
        "momentum": pack(state.momentum),
        "anchor": pack(state.anchor),
        "window_keys": state.window_keys,
        "window_values": state.window_values,
        "position": state.position,
    }


def _memory_step(config: Config, x: Tensors) -> Tensors:
    outputs = _memory(memory_recurrent, config, x | {name: x[name].unsqueeze(1) for name in TOKENS})
    return outputs | {"reads": outputs["reads"].squeeze(1)}


MEMORIES: Final[Mapping[Op, Function]] = {
    Op.MEMORY_STEP: _memory_step,
    Op.MEMORY_SCAN: partial(_memory, memory_recurrent),
    Op.MEMORY_CHUNKED: partial(_memory, memory_chunked),
    Op.MEMORY_GRAD: partial(_memory, memory_chunked),
}
