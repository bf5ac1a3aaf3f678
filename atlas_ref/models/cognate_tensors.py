"""Every tensor of a model of the family `cognate`, and what a token costs, from the configuration alone.

    weights       2 operations an entry for every matrix that a token passes through, as often as it does
    attention     4 d w: scores and mixture of a window of w tokens at width d
    slots         4 w K: scores and mixture of K slots of width w
    head          one product with the embedding for each answer that is learned from

As in `models.flops`, a training step counts three times its forward pass.
"""

from collections.abc import Iterator
from math import prod

from atlas_ref.config.cognate import CognateConfig
from atlas_ref.models.flops import BACKWARD
from atlas_ref.models.tensors import TensorInfo


def tensors(config: CognateConfig) -> tuple[TensorInfo, ...]:
    """Return every tensor of a model of `config`."""
    d = config.d_model
    found = [
        TensorInfo(
            "embedding.weight", (config.vocab_size, d), "token, model", "row of each token; as the head, logits = y E^T"
        ),
        TensorInfo("position.weight", (config.positions, d), "position, model", "added to the row of the token there"),
    ]
    for number in range(config.n_layers):
        found += [info._replace(name=f"layers.{number}.{info.name}") for info in _layer(config)]
    if config.n_layers:
        found.append(TensorInfo("norm.weight", (d,), "model", "scale of the RMS norm behind the backbone"))
    found += [*_ltm(config), *_recursion(config)]
    if config.halting.kind != "none":
        found += _linear("halting_head", 1, d, "one, model", "w of the logit of being right")
    return tuple(found)


def count_parameters(config: CognateConfig) -> int:
    """Return the number of parameters of a model, without building it."""
    return sum(prod(info.shape) for info in tensors(config))


def training_flops(config: CognateConfig) -> int:
    """Return the operations of a training step for each token of its batch (module docstring)."""
    d, settings = config.d_model, config.recursion
    attention = 4 * d * config.window
    backbone = config.n_layers * (2 * sum(prod(x.shape) for x in _layer(config) if len(x.shape) == 2) + attention)
    memory = 2 * sum(prod(info.shape) for info in _ltm(config) if len(info.shape) == 2)
    memory += 4 * config.ltm.width * config.ltm.slots if config.ltm.has_slots else 0
    recursions = settings.iterations * settings.recursions
    if settings.nets == "shared":
        recursion = config.evaluations * (2 * (4 * d * d + 3 * d * settings.hidden) + attention)
    else:
        refine = 2 * (2 * 4 * d * d + 4 * d * settings.hidden) + 2 * attention
        update = 2 * 3 * d * settings.hidden
        recursion = 4 * d * d + recursions * (settings.micro_steps * refine + update)
    head = len(settings.weights) * 2 * d * config.vocab_size
    return BACKWARD * (backbone + memory + recursion + head)


def _layer(config: CognateConfig) -> list[TensorInfo]:
    """Return the tensors of a layer of the backbone."""
    d, hidden = config.d_model, config.feed_forward_dim
    return [
        TensorInfo("norm.weight", (d,), "model", "scale of the RMS norm before attention"),
        TensorInfo("attention.projection.weight", (3 * d, d), "q k v, model", "W_qkv; each of q, k, v by heads"),
        TensorInfo("attention.output.weight", (d, d), "model, model", "W_o"),
        TensorInfo("feed_forward.norm.weight", (d,), "model", "scale of the RMS norm before the feed-forward"),
        TensorInfo("feed_forward.up.weight", (2 * hidden, d), "gate up, model", "W_gate, then W_up"),
        TensorInfo("feed_forward.output.weight", (d, hidden), "model, hidden", "W_down of the feed-forward"),
    ]


def _ltm(config: CognateConfig) -> Iterator[TensorInfo]:
    """Yield what the memory and its gate have; every kind of memory has the same."""
    d, ltm = config.d_model, config.ltm
    if ltm.kind == "none":
        return
    yield TensorInfo("ltm.down.weight", (ltm.width, d), "memory, model", "W_down: what is remembered of a token")
    yield TensorInfo("ltm.up.weight", (d, ltm.width), "model, memory", "W_up: what is read of it")
    yield from _linear("ltm.gate_hidden", ltm.gate_hidden, 2 * d, "hidden, model memory", "W_1 of the gate")
    yield from _linear("ltm.gate", d, ltm.gate_hidden, "model, hidden", "W_2 of the gate of backbone against memory")


def _recursion(config: CognateConfig) -> Iterator[TensorInfo]:
    """Yield what the recursion has."""
    d, hidden, at = config.d_model, config.recursion.hidden, "recursion."
    if config.recursion.nets == "shared":
        yield TensorInfo(f"{at}projection.weight", (3 * d, d), "q k v, model", "W_qkv of the network; each by heads")
        yield TensorInfo(f"{at}output.weight", (d, d), "model, model", "W_o of the network")
        yield TensorInfo(f"{at}up.weight", (2 * hidden, d), "gate up, model", "W_gate, then W_up")
        yield TensorInfo(f"{at}down.weight", (d, hidden), "model, hidden", "W_down of the network")
        return
    yield from _linear(f"{at}z0", d, d, "model, model", "z0 of the features")
    yield from _linear(f"{at}y0", d, d, "model, model", "y0 of z0")
    for name, told in (("sees_features", "the features"), ("sees_answer", "the answer")):
        yield from _linear(f"{at}{name}.projection", 3 * d, d, "q k v, model", f"W_q of z, W_k and W_v of {told}")
        yield from _linear(f"{at}{name}.output", d, d, "model, model", f"W_o of the attention to {told}")
    yield from _linear(f"{at}refine.0", hidden, 3 * d, "hidden, z features answer", "first matrix of the refiner")
    yield from _linear(f"{at}refine.1", d, hidden, "model, hidden", "second matrix of the refiner")
    yield from _norm(f"{at}refine_norm", d, "z")
    yield from _linear(f"{at}update.0", hidden, 2 * d, "hidden, y z", "first matrix of the updater")
    yield from _linear(f"{at}update.1", d, hidden, "model, hidden", "second matrix of the updater")
    yield from _norm(f"{at}update_norm", d, "y")


def _linear(name: str, rows: int, columns: int, axes: str, meaning: str) -> Iterator[TensorInfo]:
    yield TensorInfo(f"{name}.weight", (rows, columns), axes, meaning)
    yield TensorInfo(f"{name}.bias", (rows,), axes.partition(",")[0], "its bias")


def _norm(name: str, size: int, what: str) -> Iterator[TensorInfo]:
    yield TensorInfo(f"{name}.weight", (size,), "model", f"scale of the layer norm of {what}")
    yield TensorInfo(f"{name}.bias", (size,), "model", "its shift")
