"""The blocks MAC, MAL and LMM, by the reference."""

from collections.abc import Mapping
from functools import cache
from typing import Final

import torch
from torch import Tensor
from torch.func import functional_call

from atlas_ref.blocks.attention import AttentionState
from atlas_ref.blocks.block import Block, BlockOutput, BlockState
from atlas_ref.blocks.memory_branch import MemoryLayerState
from atlas_ref.blocks.registry import build_block
from atlas_ref.blocks.segment_attention import MacState
from atlas_ref.blocks.timeline import make_timeline
from atlas_ref.config.model import ModelConfig
from atlas_ref.functional.normalize import at_least_float32
from atlas_ref.memory.state import Held, MemoryState
from spec_tests.port import Op
from spec_tests.ports.reference.blocks import MODEL, NAMES, model_config
from spec_tests.ports.reference.memory import pack, unpack
from spec_tests.ports.reference.tensors import Config, Function, Tensors

OTHER_NAMES: Final[Mapping[str, str]] = {
    **NAMES,
    "memory_output": "memory_output.weight",
    "inner_norm": "inner_norm.weight",
    "row_projection": "rows.projection.weight",
    "row_convolution": "rows.convolution",
    "row_queries": "rows.queries",
    "row_output": "rows.output.weight",
    "row_norm": "rows.norm.weight",
    "memory_input": "memory_input.weight",
    "memory_input_norm": "memory_input_norm.weight",
}
BRANCH: Final = ("tail", "carry", "weights", "momentum", "anchor", "window_keys", "window_values", "position")
"""State of the memory of every block."""


@cache
def _block(config: ModelConfig) -> Block:
    """Return a block whose own parameters are never used."""
    return build_block(config)


def _branch(x: Tensors) -> MemoryLayerState[MemoryState]:
    widths = x["window_keys"].shape[-1], x["window_values"].shape[-1]
    weights, momentum, anchor = (unpack("matrix", x[name], *widths) for name in ("weights", "momentum", "anchor"))
    memory = MemoryState(weights, momentum, anchor, x["window_keys"], x["window_values"], x["position"])
    return MemoryLayerState(memory, x["tail"], (x["carry"],), x["position"])


def _branch_tensors(state: BlockState) -> Tensors:
    branch, memory = state.memory, state.memory.memory
    packed = [pack(matrices) for matrices in (memory.weights, memory.momentum, memory.anchor)]
    found = (branch.convolution, branch.projections[0], *packed, memory.window_keys, memory.window_values)
    return dict(zip(BRANCH, (*found, memory.position), strict=True))


def _run(config: Config, x: Tensors, state: BlockState, changes: Mapping[str, object]) -> BlockOutput:
    """Run the block of a configuration that `changes` that of the MAG block with the same parameters."""
    span = x["cache_keys"].shape[1] + 1 if "cache_keys" in x else 1
    whole = {**MODEL, **config, "span": span}
    given = {"persistent": torch.zeros(0, len(x["norm"])), **x}
    base = model_config(whole, given, vocabulary=2, feed=0).model_dump()
    settings = ModelConfig.model_validate({**base, **changes})
    block, positions = _block(settings), (x["position"], x["position"])
    reset, time = x["reset"].bool(), x["x"].shape[1]
    timeline = make_timeline(settings.memory, *positions, reset, time, settings.segment)
    weights = {name: x[ours] for ours, name in OTHER_NAMES.items() if ours in x}
    weights["memory.feature_coefficients"] = torch.log(torch.expm1(x["coefficients"]))
    weights["memory.log_gain"] = x["log_gain"]
    features, values = x["window_keys"].shape[-1], x["window_values"].shape[-1]
    (weights["memory.initial.0"],) = unpack("matrix", x["initial"], features, values)
    owned = set(dict(block.named_parameters()))
    used = {name: value for name, value in weights.items() if name in owned}
    output: BlockOutput = functional_call(block, used, (at_least_float32(x["x"]), state, timeline))
    return output


def _idle(x: Tensors, name: str) -> Tensor:
    """Return state that is not used: nothing of it where a document begins, or in places that it does not have."""
    value = x[name]
    dead = torch.arange(value.shape[1], 0, -1) > x["position"].unsqueeze(1)
    gone = dead | x["reset"].bool().any(1, keepdim=True)
    return value.masked_fill(gone.view(*gone.shape, *(1,) * (value.ndim - 2)), 0.0)


def _mac_block(config: Config, x: Tensors) -> Tensors:
    widths = x["window_keys"].shape[-1], x["window_values"].shape[-1]
    rows = str(config["rows"])
    causal, previous, own = rows == "causal", rows == "previous_segment", rows != "learned"
    state = MacState(
        _branch(x),
        (Held(unpack("matrix", x["segment_weights"], *widths)),),
        x["cache_keys"],
        x["cache_values"],
        x["row_keys"] if causal else x["row_keys"][:, :0],
        x["row_values"] if causal else x["row_values"][:, :0],
        x["row_tail"] if own else x["row_tail"][:, :0, :0],
        x["row_asked"] if previous else x["row_asked"][:, :0],
    )
    mac = {
        "segment": x["cache_keys"].shape[1] + 1,
        "rows": rows,
        "learned_rows": len(x["row_queries"]),
        "write_from": config["write_from"],
    }
    output = _run(config, x, state, {"block": "mac", "mac": mac})
    after = output.state
    # What a kind of rows does not use comes back as it came, as far as the document has it.
    return {
        "y": output.hidden.to(x["x"].dtype),
        "segment_weights": pack(after.segment[0].weights),
        "cache_keys": after.cache_keys,
        "cache_values": after.cache_values,
        "row_keys": after.row_keys if causal else _idle(x, "row_keys"),
        "row_values": after.row_values if causal else _idle(x, "row_values"),
        "row_tail": after.row_tail if own else _idle(x, "row_tail"),
        "row_asked": after.row_queries if previous else _idle(x, "row_asked"),
        **_branch_tensors(after),
    }


def _mal_block(config: Config, x: Tensors) -> Tensors:
    state = AttentionState(_branch(x), x["cache_keys"], x["cache_values"])
    changes = {"block": "mal", "mal": {"inner_residual": config["inner_residual"]}}
    output = _run({**config}, x, state, changes)
    caches = {"cache_keys": output.state.cache_keys, "cache_values": output.state.cache_values}
    return {"y": output.hidden.to(x["x"].dtype), **caches, **_branch_tensors(output.state)}


def _lmm_block(config: Config, x: Tensors) -> Tensors:
    output = _run(config, x, BlockState(_branch(x)), {"block": "lmm"})
    return {"y": output.hidden.to(x["x"].dtype), **_branch_tensors(output.state)}


FUNCTIONS: Final[Mapping[Op, Function]] = {
    Op.MAC_BLOCK: _mac_block,
    Op.MAL_BLOCK: _mal_block,
    Op.LMM_BLOCK: _lmm_block,
}
