"""docs/spec/blocks.md in numpy: the MAG block, put together from the other chapters' oracles."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.chapters.attention.oracle import sliding_window_attention
from spec_tests.chapters.blocks.operation import BLOCK_STATE
from spec_tests.chapters.convolution.oracle import short_conv
from spec_tests.chapters.mag_gate.oracle import gate
from spec_tests.chapters.memory_step.loop import Config, Oracle
from spec_tests.chapters.normalize.oracle import l2_normalize
from spec_tests.chapters.polynomial.oracle import polynomial_features
from spec_tests.chapters.qk_projection.oracle import qk_gate, qk_projection
from spec_tests.oracle.answer import Function
from spec_tests.oracle.sigmoid import sigmoid
from spec_tests.oracle.sums import Sums
from spec_tests.port import Array, Op

Arrays = Mapping[str, Array]
L2_EPS: Final = 1e-6


def rms_norm(x: Array, scale: Array, eps: float, sums: Sums) -> Array:
    """Return x / sqrt(mean(x^2) + eps) * scale over the last axis."""
    return np.asarray(x / np.sqrt(sums.dot(x, x)[..., None] / x.shape[-1] + eps) * scale)


def linear(x: Array, weight: Array, sums: Sums) -> Array:
    """Return W x for every token."""
    return np.asarray(sums.matvec(weight, x))


def silu(x: Array) -> Array:
    """Return x sigmoid(x)."""
    return np.asarray(x / (1.0 + np.exp(-x)))


def positions(start: Array, reset: Array) -> Array:
    """Return the index of every token in its document."""
    result = np.zeros(reset.shape, dtype=np.int64)
    for row, count in enumerate(start):
        for t in range(reset.shape[1]):
            count = 0 if reset[row, t] else count
            result[row, t] = count
            count = count + 1
    return result


def rotate(x: Array, position: Array, base: float) -> Array:
    """Turn each pair of entries of each head by position * base^(-2i/dim)."""
    result, dim = np.zeros_like(x), x.shape[-1]
    for row, t in np.ndindex(position.shape):
        for i in range(dim // 2):
            angle = int(position[row, t]) * base ** (-2.0 * i / dim)
            even, odd = x[row, t, :, 2 * i], x[row, t, :, 2 * i + 1]
            result[row, t, :, 2 * i] = even * np.cos(angle) - odd * np.sin(angle)
            result[row, t, :, 2 * i + 1] = even * np.sin(angle) + odd * np.cos(angle)
    return result


def seen_after(position: Array, before: Array) -> Array:
    """Return how many tokens each row has had after a call, `before` where the call is empty."""
    return np.asarray(position[:, -1] + 1 if position.shape[1] else before)


def of_document(tail: Array, seen: Array) -> Array:
    """Return a tail with zeros in the places that the document does not reach."""
    kept, length = np.array(tail), tail.shape[1]
    for row, count in enumerate(seen):
        kept[row, : length - min(length, int(count))] = 0.0
    return kept


def attend(config: Config, h: Array, x: Arrays, position: Array, sums: Sums) -> dict[str, Array]:
    heads, dim = x["cache_keys"].shape[-2:]

    def project(tokens: Array) -> list[Array]:
        mixed = linear(tokens, x["attention_projection"], sums)
        return [part.reshape(*part.shape[:-1], heads, dim) for part in np.split(mixed, 3, axis=-1)]

    queries, keys, values = project(h)
    _, persistent_keys, persistent_values = project(x["persistent"])
    base = float(config["rope_base"])
    tokens = {"queries": rotate(queries, position, base), "keys": rotate(keys, position, base), "values": values}
    given = {**tokens, "persistent_keys": persistent_keys, "persistent_values": persistent_values}
    caches = {name: x[name] for name in ("cache_keys", "cache_values")}
    return sliding_window_attention({**given, **caches, "position": position}, int(config["span"]), sums)


def _gates(config: Config, h: Array, x: Arrays, sums: Sums) -> dict[str, Array]:
    heads = x["log_gain"].shape[0]
    raw = sigmoid(linear(h, x["gates_weight"], sums) + x["gates_bias"])
    retention, decay, step, *ages = (raw[..., i : i + heads] for i in range(0, raw.shape[-1], heads))
    return {
        "retention": retention,
        "momentum_decay": decay * float(config["momentum_max"]),
        "step_size": step * float(config["step_max"]),
        "window_weights": np.stack(ages, axis=-1),
    }


def remember(config: Config, h: Array, x: Arrays, context: Array, position: Array, sums: Sums) -> dict[str, Array]:
    (heads, key), values = x["log_gain"].shape, x["window_values"].shape[-1]
    mixed, tail = short_conv(linear(h, x["memory_projection"], sums), x["convolution"], x["tail"], context, sums)
    batch, time = position.shape
    parts = np.split(mixed, [heads * key, 2 * heads * key], axis=-1)
    queries, keys = (
        l2_normalize(silu(part).reshape(-1, key), L2_EPS, sums).reshape(batch, time, heads, key) for part in parts[:2]
    )
    carry = x["carry"]
    if config["projection"] != "none":
        aligned = qk_projection(queries, keys, carry, position, sums)
        queries, carry = aligned["projected"], aligned["carry"]
        if config["projection"] == "frobenius_tanh":
            queries = qk_gate(queries, aligned["frobenius"], x["log_gain"], np.ones_like(x["log_gain"]))

    def features(vectors: Array) -> Array:
        flat = polynomial_features(vectors.reshape(-1, key), x["coefficients"], str(config["basis"]), sums)
        return flat.reshape(batch, time, heads, flat.shape[-1])

    tokens = {
        "keys": features(keys),
        "queries": features(queries),
        "values": parts[2].reshape(batch, time, heads, values),
    }
    memory = Oracle(config, sums).run({**x, **tokens, **_gates(config, h, x, sums)})
    return {**memory, "tail": tail, "carry": carry}


def begun(config: Config, x: Arrays, sums: Sums) -> Array:
    """Return the memory that a document begins with [heads, parameters]: M_0, or what the persistent tokens leave."""
    count: int = len(x["persistent"])
    if not (config.get("persistent_in_memory", False) and count):
        return x["initial"]
    places = np.arange(count)[None]
    blank = {tensor.name: np.zeros((1, *x[tensor.name].shape[1:])) for tensor in BLOCK_STATE[:-1]}
    alone = {**x, **blank, "position": np.zeros(1, np.int64), "reset": 0 * places}
    weights = remember(config, x["persistent"][None], alone, places, places, sums)["weights"]
    return np.asarray(weights[0])


def mag_block(config: Config, x: Arrays, sums: Sums) -> dict[str, Array]:
    """Return y and the state after the call."""
    return block(config, x, positions(x["position"], x["reset"]), sums)


def block(config: Config, x: Arrays, context: Array, sums: Sums) -> dict[str, Array]:
    """Return what a block does whose tokens stand at `context` in what attention and convolution see."""
    position = positions(x["position"], x["reset"])
    h = rms_norm(x["x"], x["norm"], float(config["norm_eps"]), sums)
    attended, first = attend(config, h, x, context, sums), {**x, "initial": begun(config, x, sums)}
    remembered = remember(config, h, first, context, position, sums)
    eps, flat = float(config["norm_eps"]), (*position.shape, len(x["attention_norm"]))
    reads = remembered["reads"].reshape(flat)
    # Detached: for the outer gradient the reads are constants.
    reads = reads.real if config["inner_grad"] == "detached" else reads
    seen, memory = rms_norm(attended["output"].reshape(flat), x["attention_norm"], eps, sums), x["memory_norm"]
    logits = linear(h, x["gate_weight"], sums) + x["gate_bias"]
    _, joined = gate(str(config["gate"]), seen, rms_norm(reads, memory, eps, sums), logits, float(config["floor"]))
    state = {name: value for name, value in remembered.items() if name != "reads"}
    after = seen_after(context, x.get("context", x["position"]))
    for name in ("cache_keys", "cache_values"):
        state[name] = of_document(attended[name], after)
    state["tail"] = of_document(remembered["tail"], after)
    return {"y": x["x"] + linear(joined, x["output"], sums), **state}


ANSWERS: Final[Mapping[Op, Function]] = {Op.MAG_BLOCK: mag_block}
