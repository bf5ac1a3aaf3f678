"""The model of chapter LM for many parameters at once: the first axis of every array is one set of parameters.

A complex step moves one number a set, so that one pass gives all derivatives, where the loops of the chapters would
pass once a number. It has the configuration MODEL alone, and equals those loops (`test_step_model`).
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.chapters.blocks.operation import MODEL
from spec_tests.port import Array

Arrays = Mapping[str, Array]
EPS: Final = float(MODEL["norm_eps"])
WINDOW: Final = int(MODEL["span"])
CHUNK: Final = int(MODEL["chunk"])
BOUND: Final = float(MODEL["momentum_max"])
FLOOR: Final = float(MODEL["floor"])


def linear(x: Array, weight: Array) -> Array:
    """Return W x of every token [sets, batch, time, in], with a matrix a set."""
    return np.asarray(x @ np.swapaxes(weight, -1, -2)[:, None])


def rms(x: Array, scale: Array) -> Array:
    """Return x / sqrt(mean(x^2) + eps) * scale over the last axis."""
    return np.asarray(x / np.sqrt((x * x).mean(-1, keepdims=True) + EPS) * scale[:, None, None])


def unit(x: Array, eps: float) -> Array:
    """Return x / sqrt(||x||^2 + eps^2) over the last axis."""
    return np.asarray(x / np.sqrt((x * x).sum(-1, keepdims=True) + eps * eps))


def behind(cache: Array, tokens: Array) -> Array:
    """Return what was before the call, of every set, and the tokens of the call behind it."""
    return np.concatenate([np.broadcast_to(cache, (len(tokens), *cache.shape[-tokens.ndim + 1 :])), tokens], axis=2)


def rotate(x: Array, position: Array) -> Array:
    """Turn each pair of entries of each head by position * base^(-2i/dim)."""
    dim = x.shape[-1]
    angle = position[..., None] * float(MODEL["rope_base"]) ** (-np.arange(0, dim, 2) / dim)
    cos, sin = np.cos(angle)[None, :, :, None], np.sin(angle)[None, :, :, None]
    turned = np.empty_like(x)
    turned[..., 0::2] = x[..., 0::2] * cos - x[..., 1::2] * sin
    turned[..., 1::2] = x[..., 0::2] * sin + x[..., 1::2] * cos
    return turned


def kept(known: Array, count: int, position: Array, time: int) -> Array:
    """Return the last `count` places of a sequence, zeros where the document of the last token does not reach."""
    after = position[:, -1] + 1
    age = np.arange(count, 0, -1)
    reached = (age <= after[:, None]).reshape(1, len(after), count, *(1 for _ in known.shape[3:]))
    return np.where(reached, known[:, :, known.shape[2] - count :], 0.0)


def attend(h: Array, x: Arrays, position: Array) -> tuple[Array, dict[str, Array], Array]:
    """Return (output, caches, largest logit of each head and set) of attention."""
    heads, dim = x["cache_keys"].shape[-2:]

    def project(tokens: Array) -> list[Array]:
        mixed = linear(tokens, x["attention_projection"])
        return [part.reshape(*part.shape[:-1], heads, dim) for part in np.split(mixed, 3, axis=-1)]

    queries, keys, values = project(h)
    _, first_keys, first_values = (part[:, 0] for part in project(x["persistent"][:, None]))
    queries, keys = rotate(queries, position), rotate(keys, position)
    known_keys, known_values = behind(x["cache_keys"], keys), behind(x["cache_values"], values)
    time, past = position.shape[1], WINDOW - 1
    logits = [np.einsum("sbthd,shd->sbth", queries, first_keys[:, n]) for n in range(first_keys.shape[1])]
    read = [np.broadcast_to(first_values[:, n, None, None], values.shape) for n in range(first_keys.shape[1])]
    seen = [np.ones(position.shape, dtype=bool) for _ in logits]
    for age in range(WINDOW):
        place = slice(past - age, past - age + time)
        logits.append((queries * known_keys[:, :, place]).sum(-1))
        read.append(known_values[:, :, place])
        seen.append(position >= age)
    scores, sight = np.stack(logits) / np.sqrt(dim), np.stack(seen)[:, None, :, :, None]
    largest = np.where(sight, scores.real, -np.inf).max((0, 2, 3), initial=-np.inf)
    top = np.where(sight, scores.real, -np.inf).max(0)
    weights = np.where(sight, np.exp(np.where(sight, scores - top, 0.0)), 0.0)
    # What is out of sight may be infinite, which no weight of zero takes away.
    output = (weights[..., None] * np.where(sight[..., None], np.stack(read), 0.0)).sum(0) / weights.sum(0)[..., None]
    caches = {
        "cache_keys": kept(known_keys, past, position, time),
        "cache_values": kept(known_values, past, position, time),
    }
    return output, caches, largest


def convolve(h: Array, x: Arrays, position: Array) -> tuple[Array, Array]:
    """Return (mixed channels, new tail)."""
    reach, time = x["tail"].shape[-2], position.shape[1]
    known = behind(x["tail"], linear(h, x["memory_projection"]))
    mixed = np.zeros(())
    for age in range(reach + 1):
        part = x["convolution"][:, None, None, :, reach - age] * known[:, :, reach - age : reach - age + time]
        mixed = mixed + np.where((position >= age)[None, :, :, None], part, 0.0)
    return np.asarray(mixed), kept(known, reach, position, time)


def aligned(queries: Array, keys: Array, x: Arrays, position: Array) -> tuple[Array, Array]:
    """Return (gated projected queries, the last Pi): tanh(exp(log_gain) Pi q / (||Pi|| + 1e-7))."""
    sets = len(queries)
    carry = np.broadcast_to(x["carry"], (sets, *x["carry"].shape[-4:])).astype(queries.dtype)
    projected = np.zeros_like(queries)
    gain = np.exp(x["log_gain"])[:, None]
    for t in range(position.shape[1]):
        carry = np.where((position[:, t] == 0)[None, :, None, None, None], 0.0, carry)
        key = keys[:, :, t] / np.sqrt((keys[:, :, t] ** 2).sum(-1, keepdims=True))
        carry = carry + key[..., :, None] * key[..., None, :]
        norm = np.sqrt((carry * carry).sum((-1, -2)))[..., None]
        turned = (carry * queries[:, :, t, :, None, :]).sum(-1)
        projected[:, :, t] = np.tanh(gain * (turned / (norm + 1e-7)))
    return projected, carry
