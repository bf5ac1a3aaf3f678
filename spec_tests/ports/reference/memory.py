"""What the memory operations of the reference port share: packed arrays in, a form of the memory, packed arrays out."""

from collections.abc import Callable
from functools import partial
from typing import Final

import torch
from torch import Tensor

from atlas_ref.functional.normalize import at_least_float32
from atlas_ref.memory.recurrent import MemoryOutput, memory_recurrent, window_gradient
from atlas_ref.memory.rules import Gates, MemoryRule, write_coefficients
from atlas_ref.memory.state import MemoryState
from spec_tests.ports.reference.tensors import Config, Tensors

Form = Callable[..., MemoryOutput]
STATE: Final = ("weights", "momentum", "anchor", "window_keys", "window_values", "position")
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


def memory(form: Form, config: Config, x: Tensors) -> Tensors:
    rule = memory_rule(config)
    keys, values, queries = (at_least_float32(x[name]) for name in ("keys", "values", "queries"))
    matrices = partial(unpack, rule.architecture, features=keys.shape[-1], values=values.shape[-1])
    reads, state, _ = form(
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


def traces(config: Config, x: Tensors) -> Tensors:
    """Return the gradient each write takes in and what it leaves, by calls of one token each."""
    shown: dict[str, list[Tensor]] = {"gradient": [], "momentum_trace": [], "weights_trace": []}
    state = {name: x[name] for name in STATE}
    for t in range(x["keys"].shape[1]):
        token = {name: x[name][:, t : t + 1] for name in TOKENS}
        outputs = memory(memory_recurrent, config, x | state | token)
        shown["gradient"].append(_gradient(config, state | token, outputs["anchor"], outputs["position"] - 1))
        shown["momentum_trace"].append(outputs["momentum"])
        shown["weights_trace"].append(outputs["weights"])
        state = {name: outputs[name] for name in STATE}
    empty = x["weights"].unsqueeze(1)[:, :0]
    return {name: torch.stack(values, 1) if values else empty for name, values in shown.items()}


def _gradient(config: Config, x: Tensors, anchor: Tensor, position: Tensor) -> Tensor:
    """Return g of one token that stands at `position` and writes at `anchor`, as the recurrence forms it."""
    rule = memory_rule(config)
    keys, values = (torch.cat([x[f"window_{name}"], at_least_float32(x[name])], 1) for name in ("keys", "values"))
    gates = Gates(x["retention"], x["momentum_decay"], x["step_size"], x["window_weights"])
    weights = write_coefficients(rule, gates, position.unsqueeze(1)).window[:, 0]
    matrices = unpack(rule.architecture, anchor, keys.shape[-1], values.shape[-1])
    return pack(window_gradient(rule, matrices, keys, values, weights))
