"""The tensors of each kind of block besides its memory: names, shapes and what they hold (`tensors` has the rest)."""

from collections.abc import Iterator
from typing import NamedTuple

from atlas_ref.config.model import ModelConfig


class TensorInfo(NamedTuple):
    """The name of a tensor, its shape, the words for its axes, and what it holds."""

    name: str
    shape: tuple[int, ...]
    axes: str
    meaning: str


def block_tensors(config: ModelConfig) -> Iterator[TensorInfo]:
    """Yield the tensors of a block without its memory; the names lack `layers.N.` and that of the block."""
    what = {"mal": "the memory reads", "lmm": "the memory and its gate read"}
    read = what.get(config.block, "attention and memory read")
    yield TensorInfo("norm.weight", (config.d_model,), "model", f"scale of the RMS norm of what {read}")
    if config.block != "lmm":
        yield from _attention(config)
    yield TensorInfo(
        "memory_norm.weight", (_width(config),), "value", "scale of the RMS norm of what the memory returns"
    )
    yield from {"mag": _join, "mal": _layer, "lmm": _gated}[config.block](config)


def _width(config: ModelConfig) -> int:
    """Return the width of the memory's reads, all heads together."""
    return config.n_heads * config.memory.value_dim


def _attention(config: ModelConfig) -> Iterator[TensorInfo]:
    """Yield the projection of attention and its persistent tokens."""
    d, persistent = config.d_model, config.attention.persistent_tokens
    yield TensorInfo("attention.persistent", (persistent, d), "token, model", "persistent tokens, before W_qkv")
    yield TensorInfo(
        "attention.projection.weight", (3 * d, d), "q k v, model", "W_qkv of attention; each of q, k, v by heads"
    )


def _join(config: ModelConfig) -> Iterator[TensorInfo]:
    """Yield what joins attention and memory, and the way out."""
    d, width = config.d_model, _width(config)
    yield TensorInfo("attention_norm.weight", (d,), "model", "scale of the RMS norm of what attention returns")
    if config.gate.kind == "convex":
        yield TensorInfo("gate.weight", (width, d), "value, model", "gate of attention and memory: sigmoid(W h + b)")
        yield TensorInfo("gate.bias", (width,), "value", "b of that gate")
    yield TensorInfo("output.weight", (d, width), "model, value", "W_o: from the join to the residual stream")


def _layer(config: ModelConfig) -> Iterator[TensorInfo]:
    """Yield what lies between the memory of MAL and its attention, and the way out."""
    d = config.d_model
    yield TensorInfo(
        "memory_output.weight", (d, _width(config)), "model, value", "W_m: from the reads to what attention sees"
    )
    if config.mal.inner_residual:
        yield TensorInfo("inner_norm.weight", (d,), "model", "scale of the RMS norm of what attention sees")
    yield TensorInfo("output.weight", (d, d), "model, value", "W_o: from attention to the residual stream")


def _gated(config: ModelConfig) -> Iterator[TensorInfo]:
    """Yield the gate of LMM and the way out."""
    d, width = config.d_model, _width(config)
    yield TensorInfo("gate.weight", (width, d), "value, model", "W_g of the gate of the memory: sigmoid(W_g n)")
    yield TensorInfo("output.weight", (d, width), "model, value", "W_o: from the gated reads to the residual stream")
