"""Every tensor that a model has: its name, its shape and what it holds, from the configuration alone.

Nothing is built and torch is not needed, so that a size is known at once; the tests compare the table with the
parameters of models of every kind.
"""

from collections.abc import Iterator
from math import prod

from atlas_ref.config.gates import GATE_RANK
from atlas_ref.config.memory import LEAST_RIDGE
from atlas_ref.config.model import ModelConfig
from atlas_ref.models.block_tensors import TensorInfo, block_tensors

__all__ = ["LAYER", "TensorInfo", "count_parameters", "layer_tensors", "tensors"]

LAYER = "layers.{}."
INITIAL = (
    "M_0, the memory before the first token",
    "second matrix of M_0, next to the features",
    "third matrix of M_0, whose products gate those of the second",
)
GATE_WORDS = {
    "retention": "retention",
    "momentum": "momentum decay",
    "step": "step size",
    "window": "then each age of the window",
    "threshold": "then the threshold",
}


def tensors(config: ModelConfig) -> tuple[TensorInfo, ...]:
    """Return every tensor of a model of `config`, layer after layer."""
    d = config.d_model
    embedding = (config.vocab_size, d)
    return (
        TensorInfo(
            "embedding.weight", embedding, "token, model", "row of each token; as the head, logits = norm(x) E^T"
        ),
        *(
            info._replace(name=LAYER.format(number) + info.name)
            for number in range(config.n_layers)
            for info in layer_tensors(config)
        ),
        TensorInfo("norm.weight", (d,), "model", "scale of the RMS norm before the head"),
    )


def count_parameters(config: ModelConfig) -> int:
    """Return the number of parameters of a model, without building it."""
    each = sum(prod(info.shape) for info in layer_tensors(config))
    return (config.vocab_size + 1) * config.d_model + config.n_layers * each


def layer_tensors(config: ModelConfig) -> tuple[TensorInfo, ...]:
    """Return the tensors of one layer; the names lack `layers.N.`."""
    block = (*block_tensors(config), *_memory(config))
    return (*(info._replace(name=f"{config.block}.{info.name}") for info in block), *_feed_forward(config))


def _memory(config: ModelConfig) -> Iterator[TensorInfo]:
    """Yield what the memory branch has."""
    memory, heads, d = config.memory, config.n_heads, config.d_model
    channels = heads * (2 * memory.key_dim + memory.value_dim)
    yield TensorInfo(
        "memory.projection.weight", (channels, d), "q k v, model", "W_qkv of the memory; each of q, k, v by heads"
    )
    yield TensorInfo(
        "memory.convolution",
        (channels, memory.conv_kernel),
        "q k v, age",
        "causal filter of each channel; the last column multiplies the present token",
    )
    yield TensorInfo(
        "memory.feature_coefficients", (memory.features.degree,), "degree", "softplus gives a_i of the kernel"
    )
    if memory.qk_projection.kind == "frobenius_tanh":
        yield TensorInfo("memory.log_gain", (heads, memory.key_dim), "head, key", "log of the gain of queries")
    if memory.kind == "hierarchical":
        yield from _hierarchy(config)
        return
    if memory.shards.length:
        yield TensorInfo("memory.alpha_logit", (1,), "one", "sigmoid gives the share that crosses a shard border")
    yield from _gates(config, "memory.gates")
    if memory.algorithm == "ridge":
        yield TensorInfo(
            "memory.ridge",
            (heads, memory.features.width(memory.key_dim)),
            "head, feature",
            f"{LEAST_RIDGE} + softplus gives Lambda, which is added to the second moment of the features",
        )
    for number, shape in enumerate(memory.matrices()):
        yield TensorInfo(f"memory.initial.{number}", (heads, *shape), "head, out, in", INITIAL[number])


def _hierarchy(config: ModelConfig) -> Iterator[TensorInfo]:
    """Yield the gates and W_init of each memory of a hierarchy: 0 is the global one."""
    memory = config.memory
    locals_ = len(memory.hierarchy.local_chunks)
    if memory.hierarchy.border == "m3":
        yield TensorInfo("memory.alpha_logit", (locals_,), "local", "sigmoid gives the share that crosses a border")
    for number in range(locals_ + 1):
        yield from _gates(config, f"memory.gates.{number}")
    for number in range(locals_ + 1):
        for place, shape in enumerate(memory.matrices()):
            name = f"memory.initial.{number}.{place}"
            yield TensorInfo(name, (config.n_heads, *shape), "head, out, in", INITIAL[place])


def _gates(config: ModelConfig, prefix: str) -> Iterator[TensorInfo]:
    """Yield what makes the gates of the memory: nothing where all are constants."""
    memory, heads, d = config.memory, config.n_heads, config.d_model
    parts = memory.generated_gates()
    rows = heads * sum(parts.values())
    if parts:
        made = ", ".join(GATE_WORDS[name] for name in parts)
        yield TensorInfo(f"{prefix}.projection.weight", (rows, d), "gate, model", f"of {made}: a row for each head")
        yield TensorInfo(
            f"{prefix}.projection.bias", (rows,), "gate", "biases of those gates, before sigmoid or softplus"
        )
    if memory.gate_axis != "head" and memory.gates.retention_kind == "learned":
        width = memory.value_dim if memory.gate_axis == "rows" else memory.features.width(memory.key_dim)
        up, axis = (heads * width, GATE_RANK), memory.gate_axis.removesuffix("s")
        yield TensorInfo(f"{prefix}.retention_down.weight", (GATE_RANK, d), "rank, model", "first of two maps")
        yield TensorInfo(f"{prefix}.retention_up.weight", up, f"{axis}, rank", "the second, to retention gates")
        yield TensorInfo(f"{prefix}.retention_up.bias", up[:1], axis, "biases, before the sigmoid")
    if memory.gates.retention_kind == "mamba2":
        yield TensorInfo(f"{prefix}.log_rate", (heads,), "head", "log of a: a step keeps exp(-a step)")


def _feed_forward(config: ModelConfig) -> Iterator[TensorInfo]:
    """Yield what the feed-forward has, where there is one."""
    if config.feed_forward == "none":
        return
    d, hidden = config.d_model, config.feed_forward_dim
    yield TensorInfo("feed_forward.norm.weight", (d,), "model", "scale of the RMS norm before the feed-forward")
    yield TensorInfo(
        "feed_forward.up.weight", (2 * hidden, d), "gate up, model", "W_gate, then W_up: silu(W_gate h) * W_up h"
    )
    yield TensorInfo("feed_forward.output.weight", (d, hidden), "model, hidden", "W_down of the feed-forward")
