"""The MAG block, by the reference."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import torch
from torch.func import functional_call

from atlas_ref.blocks.attention import AttentionState
from atlas_ref.blocks.block import BlockState
from atlas_ref.blocks.mag import MagBlock
from atlas_ref.blocks.memory_branch import MemoryLayerState
from atlas_ref.blocks.timeline import Marks, make_timeline
from atlas_ref.config import load_config
from atlas_ref.config.model import ModelConfig
from atlas_ref.functional.normalize import at_least_float32
from atlas_ref.memory.state import MemoryState
from spec_tests.port import Op
from spec_tests.ports.reference.memory import pack, unpack
from spec_tests.ports.reference.tensors import Config, Function, Tensors

NAMES: Final[Mapping[str, str]] = {
    "norm": "norm.weight",
    "attention_projection": "attention.projection.weight",
    "persistent": "attention.persistent",
    "memory_projection": "memory.projection.weight",
    "convolution": "memory.convolution",
    "gates_weight": "memory.gates.projection.weight",
    "gates_bias": "memory.gates.projection.bias",
    "attention_norm": "attention_norm.weight",
    "memory_norm": "memory_norm.weight",
    "gate_weight": "gate.weight",
    "gate_bias": "gate.bias",
    "output": "output.weight",
}

MODEL: Final[Config] = {
    "architecture": "matrix",
    "rule": "omega",
    "chunk": 2,
    "boundary": "carry",
    "read": "post",
    "loss_scale": 0.5,
    "step_scale": "mass",
    "momentum_max": 0.9,
    "coefficients": "quintic",
    "newton_schulz_steps": 5,
    "span": 2,
    "rope_base": 100.0,
    "gate": "convex",
    "floor": 0.1,
    "norm_eps": 1e-5,
    "step_max": 0.8,
    "basis": "monomial_weighted",
    "projection": "frobenius_tanh",
}
"""The block of operations that ask something else of it: docs/spec/step.md, marks.md."""


@cache
def _tiny() -> dict[str, Any]:
    """Return a complete configuration, for the fields that no operation names."""
    return load_config("tiny").model.model_dump()


@cache
def _block(config: ModelConfig) -> MagBlock:
    """Return a block whose own parameters are never used: each call brings its own."""
    return MagBlock(config)


def model_config(config: Config, x: Tensors, vocabulary: int, feed: int) -> ModelConfig:
    """Return the configuration of a model whose parameters have the shapes of `x`."""
    tiny = _tiny()
    heads, key = x["log_gain"].shape
    values = x["output"].shape[1] // heads
    memory = {
        **tiny["memory"],
        "architecture": config["architecture"],
        "rule": config["rule"],
        "chunk": config["chunk"],
        "omega_window": x["gates_bias"].shape[0] // heads - 3,
        "window_boundary": config["boundary"],
        "read": config["read"],
        "loss_scale": "half" if config["loss_scale"] == 0.5 else "one",
        "step_scale": config["step_scale"],
        "key_dim": key,
        "value_dim": values,
        "conv_kernel": x["convolution"].shape[1],
        "features": {"basis": config["basis"], "degree": len(x["coefficients"])},
        "newton_schulz": {"coefficients": config["coefficients"], "steps": config["newton_schulz_steps"]},
        "qk_projection": {"kind": config["projection"], "gain": 1.0, "span": "shard"},
        "gates": {
            **tiny["memory"]["gates"],
            "momentum_max": config["momentum_max"],
            "momentum_init": 0.5 * config["momentum_max"],
            "step_max": config["step_max"],
            "step_init": 0.5 * config["step_max"],
            "fast_heads": 0,
        },
    }
    attention = {
        **tiny["attention"],
        "window": config["span"],
        "persistent_tokens": len(x["persistent"]),
        "persistent_in_memory": config.get("persistent_in_memory", False),
        "rope_base": config["rope_base"],
    }
    changed = {
        "vocab_size": vocabulary,
        "d_model": len(x["norm"]),
        "n_layers": 2,  # Those of `lm_forward`.
        "n_heads": heads,
        "feed_forward": "swiglu" if feed else "none",
        "feed_forward_dim": feed or 1,
        "norm_eps": config["norm_eps"],
        "inner_grad": config["inner_grad"],
        "attention": attention,
        "gate": {**tiny["gate"], "kind": config["gate"], "floor": config["floor"]},
        "memory": memory,
    }
    return ModelConfig.model_validate({**tiny, **changed})


def block_weights(config: Config, x: Tensors) -> Tensors:
    """Return the parameters of a block under the names of `MagBlock`, without those that its configuration lacks."""
    weights = {name: x[ours] for ours, name in NAMES.items() if config["gate"] == "convex" or "gate_" not in ours}
    # The layer keeps its positive coefficients through softplus: this is its inverse.
    weights["memory.feature_coefficients"] = torch.log(torch.expm1(x["coefficients"]))
    if config["projection"] == "frobenius_tanh":
        weights["memory.log_gain"] = x["log_gain"]
    matrices = unpack(config["architecture"], x["initial"], *_widths(x))
    return weights | {f"memory.initial.{i}": matrix for i, matrix in enumerate(matrices)}


def _widths(x: Tensors) -> tuple[int, int]:
    return x["window_keys"].shape[-1], x["window_values"].shape[-1]


def layer_state(config: Config, x: Tensors) -> AttentionState:
    weights, momentum, anchor = (
        unpack(config["architecture"], x[name], *_widths(x)) for name in ("weights", "momentum", "anchor")
    )
    memory = MemoryState(weights, momentum, anchor, x["window_keys"], x["window_values"], x["position"])
    # Where an operation has one position, it is that of context and memory alike.
    context = x.get("context", x["position"])
    branch = MemoryLayerState(memory, x["tail"], (x["carry"],), context)
    return AttentionState(branch, x["cache_keys"], x["cache_values"])


def state_tensors(state: BlockState) -> Tensors:
    assert isinstance(state, AttentionState)
    memory = state.memory.memory
    return {
        "cache_keys": state.cache_keys,
        "cache_values": state.cache_values,
        "tail": state.memory.convolution,
        "carry": state.memory.projections[0],
        "weights": pack(memory.weights),
        "momentum": pack(memory.momentum),
        "anchor": pack(memory.anchor),
        "window_keys": memory.window_keys,
        "window_values": memory.window_values,
        "position": memory.position,
    }


def _mag_block(config: Config, x: Tensors) -> Tensors:
    return _run(config, x, Marks(x["reset"].bool(), x["reset"].bool()))


def _mag_block_marks(config: Config, x: Tensors) -> Tensors:
    whole = {**MODEL, **config, "span": x["cache_keys"].shape[1] + 1, "inner_grad": "full"}
    return _run(whole, x, Marks(x["reset_context"].bool(), x["reset_memory"].bool()))


def _run(config: Config, x: Tensors, resets: Marks) -> Tensors:
    given = model_config(config, x, vocabulary=2, feed=0)
    block, state = _block(given), layer_state(config, x)
    timeline = make_timeline(given.memory, state.memory.context, x["position"], resets, x["x"].shape[1])
    wide = at_least_float32(x["x"])
    output = functional_call(block, block_weights(config, x), (wide, state, timeline))
    after = state_tensors(output.state)
    if "context" in x:
        after["context"] = output.state.memory.context
    return {"y": output.hidden.to(x["x"].dtype), **after}


FUNCTIONS: Final[Mapping[Op, Function]] = {Op.MAG_BLOCK: _mag_block, Op.MAG_BLOCK_MARKS: _mag_block_marks}
