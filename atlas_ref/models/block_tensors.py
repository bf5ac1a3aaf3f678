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
    yield from {"mag": _join, "mac": _context, "mal": _layer, "lmm": _gated}[config.block](config)


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
    if config.gate.has_logits:
        yield TensorInfo("gate.weight", (width, d), "value, model", "gate of attention and memory: sigmoid(W h + b)")
        yield TensorInfo("gate.bias", (width,), "value", "b of that gate")
    yield TensorInfo("output.weight", (d, width), "model, value", "W_o: from the join to the residual stream")


def _context(config: ModelConfig) -> Iterator[TensorInfo]:
    """Yield what MAC has besides the join: what its rows are asked with, and what its memory writes."""
    d, memory, heads = config.d_model, config.memory, config.n_heads
    asked = heads * memory.key_dim
    if config.mac.rows == "learned":
        shape = (config.mac.learned_rows, heads, memory.key_dim)
        yield TensorInfo("rows.queries", shape, "row, head, key", "what is asked of the memory, before the l2 norm")
    else:
        yield TensorInfo("rows.projection.weight", (asked, d), "query, model", "W_q of the rows, by heads")
        yield TensorInfo(
            "rows.convolution", (asked, memory.conv_kernel), "query, age", "causal filter of those queries"
        )
    yield TensorInfo("rows.output.weight", (d, _width(config)), "model, value", "W_h: from what is read to rows")
    yield TensorInfo("rows.norm.weight", (d,), "model", "scale of the RMS norm of rows")
    if config.mac.write_from == "attention":
        yield TensorInfo("memory_input.weight", (d, d), "model, value", "W_m: from attention to what the memory writes")
        yield TensorInfo("memory_input_norm.weight", (d,), "model", "scale of the RMS norm of what the memory writes")
    yield from _join(config)


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
