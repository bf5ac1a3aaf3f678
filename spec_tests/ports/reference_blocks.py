"""The reference port's block, language model and checkpoint: modules of `atlas_ref` with the given parameters."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.func import functional_call

from atlas_ref.blocks.mag import LayerState, MagBlock
from atlas_ref.blocks.memory_layer import MemoryLayerState
from atlas_ref.config import load_config
from atlas_ref.config_model import ModelConfig
from atlas_ref.functional.normalize import at_least_float32
from atlas_ref.memory.plan import make_plan
from atlas_ref.memory.state import MemoryState
from atlas_ref.models.atlas import AtlasModel, ModelState
from spec_tests.chapters.blocks.operation import LAYERS
from spec_tests.port import Op
from spec_tests.ports.reference_memory import MEMORIES, TOKENS, Config, Function, Tensors, pack, unpack

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
FEED_NAMES: Final = {"feed_norm": "norm.weight", "feed_up": "up.weight", "feed_down": "output.weight"}


@cache
def _tiny() -> dict[str, Any]:
    """Return a complete configuration, for the fields that no operation names."""
    return load_config("tiny").model.model_dump()


@cache
def _block(config: ModelConfig) -> MagBlock:
    """Return a block whose own parameters are never used: each call brings its own."""
    return MagBlock(config)


@cache
def _model(config: ModelConfig) -> AtlasModel:
    """Return a model whose own parameters are never used."""
    return AtlasModel(config, seed=0)


def _model_config(config: Config, x: Tensors, vocabulary: int, feed: int) -> ModelConfig:
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
        "qk_projection": {"kind": config["projection"], "gain": 1.0},
        "gates": {
            **tiny["memory"]["gates"],
            "momentum_max": config["momentum_max"],
            "momentum_init": 0.5 * config["momentum_max"],
            "step_max": config["step_max"],
            "step_init": 0.5 * config["step_max"],
            "fast_heads": 0,
        },
    }
    attention = {"window": config["span"], "persistent_tokens": len(x["persistent"]), "rope_base": config["rope_base"]}
    changed = {
        "vocab_size": vocabulary,
        "d_model": len(x["norm"]),
        "n_layers": len(LAYERS),
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


def _weights(config: Config, x: Tensors) -> Tensors:
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


def _state(config: Config, x: Tensors) -> LayerState:
    weights, momentum, anchor = (
        unpack(config["architecture"], x[name], *_widths(x)) for name in ("weights", "momentum", "anchor")
    )
    memory = MemoryState(weights, momentum, anchor, x["window_keys"], x["window_values"], x["position"])
    return LayerState(MemoryLayerState(memory, x["tail"], x["carry"]), x["cache_keys"], x["cache_values"])


def _tensors(state: LayerState) -> Tensors:
    memory = state.memory.memory
    return {
        "cache_keys": state.cache_keys,
        "cache_values": state.cache_values,
        "tail": state.memory.convolution,
        "carry": state.memory.projection,
        "weights": pack(memory.weights),
        "momentum": pack(memory.momentum),
        "anchor": pack(memory.anchor),
        "window_keys": memory.window_keys,
        "window_values": memory.window_values,
        "position": memory.position,
    }


def _mag_block(config: Config, x: Tensors) -> Tensors:
    block = _block(_model_config(config, x, vocabulary=2, feed=0))
    state, reset = _state(config, x), x["reset"].bool()
    plan = make_plan(x["position"], reset, x["x"].shape[1], config["chunk"])
    wide = at_least_float32(x["x"])
    output = functional_call(block, _weights(config, x), (wide, state, reset, plan))
    return {"y": output.hidden.to(x["x"].dtype), **_tensors(output.state)}


def _lm_forward(config: Config, x: Tensors) -> Tensors:
    layers = [{name[2:]: value for name, value in x.items() if name.startswith(prefix)} for prefix in LAYERS]
    vocabulary, feed = x["embedding"].shape[0], layers[0]["feed_down"].shape[1]
    model = _model(_model_config(config, layers[0], vocabulary, feed))
    weights = {"embedding.weight": x["embedding"], "norm.weight": x["final_norm"]}
    for number, layer in enumerate(layers):
        weights |= {f"layers.{number}.mag.{name}": value for name, value in _weights(config, layer).items()}
        weights |= {f"layers.{number}.feed_forward.{name}": layer[ours] for ours, name in FEED_NAMES.items()}
    state = ModelState(tuple(_state(config, layer) for layer in layers))
    output = functional_call(model, weights, (x["tokens"], state, x["reset"].bool()))
    after = {
        f"{prefix}{name}": value
        for prefix, layer in zip(LAYERS, output.state.layers, strict=True)
        for name, value in _tensors(layer).items()
    }
    return {"logits": output.logits, **after}


def _checkpoint_round_trip(config: Config, x: Tensors) -> Tensors:
    """Scan, write the state to a safetensors file in memory, read it into a template, scan on."""
    scan, split = MEMORIES[Op.MEMORY_SCAN], config["split"]
    rule = {key: value for key, value in config.items() if key != "split"}
    first = scan(rule, x | {name: x[name][:, :split] for name in TOKENS})
    template = _memory_state(config, x)
    saved = save({name: value.contiguous() for name, value in _memory_state(config, x | first).to_tensors().items()})
    restored = template.from_tensors(load(saved))
    rest = x | {name: x[name][:, split:] for name in TOKENS} | _memory_tensors(restored)
    second = scan(rule, rest)
    return second | {"reads": torch.cat([first["reads"], second["reads"]], dim=1)}


def _memory_state(config: Config, x: Tensors) -> MemoryState:
    widths = x["keys"].shape[-1], x["values"].shape[-1]
    weights, momentum, anchor = (
        unpack(config["architecture"], x[name], *widths) for name in ("weights", "momentum", "anchor")
    )
    return MemoryState(weights, momentum, anchor, x["window_keys"], x["window_values"], x["position"])


def _memory_tensors(state: MemoryState) -> dict[str, Tensor]:
    packed = {name: pack(getattr(state, name)) for name in ("weights", "momentum", "anchor")}
    return packed | {name: getattr(state, name) for name in ("window_keys", "window_values", "position")}


BLOCKS: Final[Mapping[Op, Function]] = {
    Op.MAG_BLOCK: _mag_block,
    Op.LM_FORWARD: _lm_forward,
    Op.CHECKPOINT_ROUND_TRIP: _checkpoint_round_trip,
}
