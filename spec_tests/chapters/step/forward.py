"""The memory and the whole model of `step.model`, for many sets of parameters at once."""

from typing import Final

import numpy as np

from spec_tests.chapters.blocks.operation import LAYERS, MODEL
from spec_tests.chapters.blocks.oracle import L2_EPS, positions, silu
from spec_tests.chapters.step.model import (
    BOUND,
    CHUNK,
    FLOOR,
    Arrays,
    aligned,
    attend,
    behind,
    convolve,
    kept,
    linear,
    rms,
    unit,
)
from spec_tests.oracle.sigmoid import sigmoid
from spec_tests.port import Array

SCALE: Final = 2.0 * float(MODEL["loss_scale"])


def _heads(x: Array, heads: int) -> Array:
    return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads)


def remember(h: Array, x: Arrays, position: Array) -> tuple[Array, dict[str, Array]]:
    """Return (reads, state) of the memory branch."""
    heads, key = x["log_gain"].shape[-2:]
    mixed, tail = convolve(h, x, position)
    queries, keys, values = np.split(mixed, [heads * key, 2 * heads * key], axis=-1)
    queries, keys = (unit(_heads(silu(part), heads), L2_EPS) for part in (queries, keys))
    queries, carry = aligned(queries, keys, x, position)
    factor = np.sqrt(x["coefficients"])[:, None, None, None, :1]
    gates = sigmoid(linear(h, x["gates_weight"]) + x["gates_bias"][:, None, None])
    reads, state = write(factor * queries, factor * keys, _heads(values, heads), gates, x, position)
    return reads, {**state, "tail": tail, "carry": carry}


def write(
    queries: Array, keys: Array, values: Array, gates: Array, x: Arrays, position: Array
) -> tuple[Array, dict[str, Array]]:
    """Return (reads, state) of the memory: rule omega, steps by mass, read after the write."""
    heads, (sets, time) = keys.shape[-2], (len(keys), position.shape[1])
    past, (width, features) = x["window_keys"].shape[-3], (values.shape[-1], keys.shape[-1])
    known_keys, known_values = behind(x["window_keys"], keys), behind(x["window_values"], values)
    shape = (sets, len(position), heads, width, features)
    weights, momentum, anchor = (
        np.broadcast_to(x[name], (sets, *x[name].shape[-3:])).reshape(shape)
        for name in ("weights", "momentum", "anchor")
    )
    initial = x["initial"].reshape(-1, 1, heads, width, features)
    retention, decay, step, *ages = (gates[..., i : i + heads, None, None] for i in range(0, gates.shape[-1], heads))
    decay, step = BOUND * decay, float(MODEL["step_max"]) * step / (CHUNK + BOUND / (1.0 - BOUND))
    reads = []
    for t in range(time):
        first, opens = (
            np.reshape(mark, (1, -1, 1, 1, 1)) for mark in (position[:, t] == 0, position[:, t] % CHUNK == 0)
        )
        weights, momentum = np.where(first, initial, weights), np.where(first, 0.0, momentum)
        anchor = np.where(opens, weights, anchor)
        gradient = np.zeros(())
        for age, gamma in enumerate(ages):
            k, v = known_keys[:, :, past + t - age], known_values[:, :, past + t - age]
            square = (k * k).sum(-1)[..., None, None]
            error = (
                ((anchor * k[..., None, :]).sum(-1) - v)[..., None] * SCALE / np.where(square.real > 1.0, square, 1.0)
            )
            seen = np.reshape(position[:, t] >= age, (1, -1, 1, 1, 1))
            gradient = gradient + np.where(seen, gamma[:, :, t] / len(ages) * error * k[..., None, :], 0.0)
        momentum = decay[:, :, t] * momentum + (1.0 - decay[:, :, t]) * gradient
        weights = retention[:, :, t] * weights - step[:, :, t] * momentum
        reads.append((weights * queries[:, :, t, :, None, :]).sum(-1))
    packed = {
        name: matrix.reshape(*matrix.shape[:3], width * features)
        for name, matrix in (("weights", weights), ("momentum", momentum), ("anchor", anchor))
    }
    windows = {
        "window_keys": kept(known_keys, past, position, time),
        "window_values": kept(known_values, past, position, time),
    }
    return np.stack(reads, axis=2), {**packed, **windows}


def layer(hidden: Array, x: Arrays, position: Array, detached: bool) -> tuple[Array, dict[str, Array], Array]:
    """Return (hidden, state, largest logits) of a block and the feed-forward behind it."""
    h = rms(hidden, x["norm"])
    attended, caches, largest = attend(h, x, position)
    reads, state = remember(h, x, position)
    flat = (*hidden.shape[:3], attended.shape[-2] * attended.shape[-1])
    # Detached: for the outer gradient the reads are constants.
    seen = rms(attended.reshape(flat), x["attention_norm"])
    memory = rms((reads.real if detached else reads).reshape(flat), x["memory_norm"])
    share = FLOOR + (1.0 - FLOOR) * sigmoid(linear(h, x["gate_weight"]) + x["gate_bias"][:, None, None])
    hidden = hidden + linear(share * seen + (1.0 - share) * memory, x["output"])
    gate, value = np.split(linear(rms(hidden, x["feed_norm"]), x["feed_up"]), 2, axis=-1)
    return hidden + linear(silu(gate) * value, x["feed_down"]), {**caches, **state}, largest


def looked_up(embedding: Array, tokens: Array) -> Array:
    """Return the embeddings of tokens."""
    return np.asarray(embedding[:, tokens])


def forward(
    parameters: Arrays, states: Arrays, tokens: Array, reset: Array, *, detached: bool
) -> tuple[Array, dict[str, Array], dict[str, Array]]:
    """Return (logits, states, largest logits of each layer) of sets of parameters [sets, ...]; states may have sets."""
    hidden = looked_up(parameters["embedding"], tokens)
    after: dict[str, Array] = {}
    largest: dict[str, Array] = {}
    for prefix in LAYERS:
        x = {name[2:]: value for name, value in {**parameters, **states}.items() if name.startswith(prefix)}
        position = positions(x["position"], reset)
        hidden, state, largest[prefix] = layer(hidden, x, position, detached)
        after |= {f"{prefix}{name}": value for name, value in state.items()}
        after[f"{prefix}position"] = position[:, -1] + 1
    logits = linear(rms(hidden, parameters["final_norm"]), parameters["embedding"])
    return logits, after, largest
