"""docs/spec/mac.md in numpy: row by row and token by token, attention as an explicit sum."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from spec_tests.chapters.blocks import oracle as parts
from spec_tests.chapters.blocks.operation import MODEL
from spec_tests.chapters.blocks.oracle import L2_EPS, Arrays, linear, positions, rms_norm, rotate, silu
from spec_tests.chapters.convolution.oracle import short_conv
from spec_tests.chapters.mac.operation import SEGMENT_STATE
from spec_tests.chapters.mag_gate.oracle import gate
from spec_tests.chapters.memory_step.loop import Config
from spec_tests.chapters.normalize.oracle import l2_normalize
from spec_tests.chapters.polynomial.oracle import polynomial_features
from spec_tests.contract.operations import OPERATIONS
from spec_tests.oracle.answer import Function
from spec_tests.oracle.sums import Sums
from spec_tests.port import Array, Op

OF_ROWS: Final = tuple(tensor.name for tensor in SEGMENT_STATE)


class Asked(NamedTuple):
    """What rows stand before a token: their queries [rows, heads, key], and the position of each; None: not turned."""

    queries: Array
    place: Array | None


def phase(place: int, _: int, span: int) -> int:
    """Return the index of a token in its segment, from its place in the document (and its index in the call)."""
    return place % span


def angle(place: Array, _: int) -> Array:
    """Return what keys and queries are turned by, from places in the document and the length C of a segment."""
    return place


def held(place: int, index: int, initial: Array, now: Array, before: Array) -> Array:
    """Return W_[s] for a token at a place in its document and an index in its segment."""
    if place == 0:
        return initial
    return now if index == 0 else before


def own(t: int, _: int) -> range:
    """Return which tokens of the call, up to the end of t's segment, have rows in sight of t that no cache has."""
    return range(t, t + 1)


def ages(index: int, _: int) -> int:
    """Return how many older tokens of the caches the token at an index of its segment sees (and its place)."""
    return index


def turned(keys: Array, place: Array | None, span: int, base: float) -> Array:
    """Return keys [tokens, heads, dim] turned by the angles of their places; what has none is as it is."""
    if place is None or not len(keys):
        return keys
    whole: Array = rotate(keys[None], angle(place[None], span), base)
    return np.asarray(whole[0])


def row_heads(config: Config, rows: Array, x: Arrays, sums: Sums) -> tuple[Array, Array]:
    """Return the keys and values of rows."""
    _, keys, values = split_heads(config, rows, x, sums)
    return keys, values


def kept(cache: Array, count: int) -> Array:
    """Return a cache [1, places, ..] with zeros but in the last `count` places."""
    places = cache.shape[1]
    live = np.arange(places, 0, -1) <= count
    return np.where(live[None, :, None, None], cache, 0.0)


def idle(kind: str, x: Arrays) -> dict[str, Array]:
    """Return the state that a kind of rows does not use: as it came, without what the document does not have."""
    used = {"causal": ("row_keys", "row_values", "row_tail"), "previous_segment": ("row_asked", "row_tail")}
    unused = (name for name in OF_ROWS[1:] if name not in used.get(kind, ()))
    seen = x["position"] * (0 if x["reset"].any() else 1)
    return {name: parts.of_document(x[name], seen) for name in unused}


def split_heads(config: Config, tokens: Array, x: Arrays, sums: Sums) -> list[Array]:
    """Return queries, keys and values of tokens [.., model] through the projection of attention, by heads."""
    heads, dim = x["cache_keys"].shape[-2:]
    mixed = linear(tokens, x["attention_projection"], sums)
    return [part.reshape(*part.shape[:-1], heads, dim) for part in np.split(mixed, 3, axis=-1)]


def softmax_read(query: Array, keys: Array, values: Array, sums: Sums) -> Array:
    """Return the mean of values [keys, dim] by the softmax of q.k / sqrt(dim)."""
    logits = sums.matvec(keys, query) / np.sqrt(query.shape[-1])
    weights = np.exp(logits - logits.real.max())
    return np.asarray(sums.matvec(values.T, weights) / sums.total(weights, axis=0))


def read_rows(config: Config, asked: Array, weights: Array, x: Arrays, sums: Sums) -> Array:
    """Return the rows [rows, model] that a memory [heads, parameters] answers to queries [rows, heads, key]."""
    count, heads, key = asked.shape
    values = x["window_values"].shape[-1]
    found = polynomial_features(asked.reshape(-1, key), x["coefficients"], str(config["basis"]), sums)
    features = found.reshape(count, heads, found.shape[-1])
    reads = np.zeros((count, heads, values), dtype=np.result_type(features, weights))
    for i, head in np.ndindex(count, heads):
        reads[i, head] = sums.matvec(weights[head].reshape(values, -1), features[i, head])
    # Detached: for the outer gradient the reads are constants.
    flat = (reads.real if config["inner_grad"] == "detached" else reads).reshape(count, heads * values)
    return rms_norm(linear(flat, x["row_output"], sums), x["row_norm"], float(config["norm_eps"]), sums)


class Walk:
    """One row of the batch, from token to token."""

    def __init__(self, config: Config, x: Arrays, sums: Sums) -> None:
        """Take a call of one row, with everything that does not wait for the memory."""
        self.config, self.x, self.sums = config, x, sums
        self.span = x["cache_keys"].shape[1] + 1
        self.eps = float(config["norm_eps"])
        self.state = {name: x[name] for name in _state_names()}
        self.places = positions(x["position"], x["reset"])
        self.n = rms_norm(x["x"], x["norm"], self.eps, sums)
        self.own_queries, self.tail = self._queries()

    def _queries(self) -> tuple[Array, Array]:
        """Return the query of every token's own row, and the tail of their convolution."""
        x, (heads, key) = self.x, self.x["log_gain"].shape
        projected = linear(self.n, x["row_projection"], self.sums)
        mixed, tail = short_conv(projected, x["row_convolution"], x["row_tail"], self.places, self.sums)
        unit = l2_normalize(silu(mixed).reshape(-1, key), L2_EPS, self.sums)
        return unit.reshape(-1, heads, key), tail

    def token(self, t: int) -> Array:
        """Take one token and return its y [1, 1, model]."""
        place = int(self.places[0, t])
        index = phase(place, t, self.span)
        before = self.state["segment_weights"][0]
        segment = held(place, index, self.x["initial"], self.state["weights"][0], before)
        seen = self._attend(t, place, index, segment)
        self.state["segment_weights"] = segment[None]
        return self._joined(t, seen, self.remember(t, seen))

    def _attend(self, t: int, place: int, index: int, segment: Array) -> Array:
        """Return a [1, 1, reads], and move the caches on."""
        config, x, sums = self.config, self.x, self.sums
        base, state, n = float(config["rope_base"]), self.state, self.n[:, t : t + 1]
        queries, keys, values = split_heads(config, n, x, sums)
        turn = angle(np.array([[place]]), self.span)
        query, key = rotate(queries, turn, base)[0, 0], rotate(keys, turn, base)
        _, persistent_keys, persistent_values = split_heads(config, x["persistent"], x, sums)
        persistent_keys = turned(persistent_keys, None, self.span, base)
        row_keys, row_values = self._rows(t, place, index, segment)
        old = self._older(index, place)
        all_keys = np.concatenate([persistent_keys, row_keys, state["cache_keys"][0, old], key[0]])
        all_values = np.concatenate([persistent_values, row_values, state["cache_values"][0, old], values[0]])
        read = [softmax_read(query[h], all_keys[:, h], all_values[:, h], sums) for h in range(len(query))]
        for name, new in (("cache_keys", key), ("cache_values", values)):
            grown = np.concatenate([state[name], new], axis=1)[:, 1:]
            state[name] = kept(grown, (place + 1) % self.span)
        return np.concatenate(read)[None, None]

    def _rows(self, t: int, place: int, index: int, segment: Array) -> tuple[Array, Array]:
        """Return the keys and values of the rows in sight of token t."""
        config, x, state, base = self.config, self.x, self.state, float(self.config["rope_base"])
        asked = self._asked(t, place, index)
        rows = read_rows(config, asked.queries, segment, x, self.sums)
        keys, values = row_heads(config, rows, x, self.sums)
        keys = turned(keys, asked.place, self.span, base)
        if config["rows"] != "causal":
            return keys, values
        seen = []
        for name, new in (("row_keys", keys), ("row_values", values)):
            seen.append(np.concatenate([state[name][0, self._older(index, place)], new]))
            grown = np.concatenate([state[name], new[None, :1]], axis=1)[:, 1:]
            state[name] = kept(grown, (place + 1) % self.span)
        return seen[0], seen[1]

    def _asked(self, t: int, place: int, index: int) -> Asked:
        """Return the queries whose rows token t sees, those of its caches left out, and keep its own query."""
        kind, state, span = self.config["rows"], self.state, self.span
        if kind == "learned":
            heads, key = self.x["log_gain"].shape
            unit = l2_normalize(self.x["row_queries"].reshape(-1, key), L2_EPS, self.sums)
            return Asked(unit.reshape(-1, heads, key), None)
        if kind == "causal":
            chosen = own(t, self.end(t))
            return Asked(self.own_queries[list(chosen)], np.array([self.places[0, i] for i in chosen]))
        cached = state["row_asked"][0]
        there = span if place - index >= span else 0
        first = len(cached) - index - there
        asked = Asked(cached[first : first + there], place - index - there + np.arange(there))
        grown = np.concatenate([state["row_asked"], self.own_queries[None, t : t + 1]], axis=1)[:, 1:]
        state["row_asked"] = kept(grown, min(place + 1, (place + 1) % span + span))
        return asked

    def _older(self, index: int, place: int) -> slice:
        """Return the places of the caches that a token sees."""
        return slice(self.span - 1 - min(ages(index, place), self.span - 1), None)

    def end(self, t: int) -> int:
        """Return the token of the call that begins the segment after that of t, or the end of the call."""
        time = self.places.shape[1]
        return next((i for i in range(t + 1, time) if phase(int(self.places[0, i]), i, self.span) == 0), time)

    def written(self, t: int, seen: Array) -> Array:
        """Return what the memory gets of token t [1, 1, model]."""
        if self.config["write_from"] != "attention":
            return self.n[:, t : t + 1]
        mixed = linear(seen, self.x["memory_input"], self.sums)
        return rms_norm(mixed, self.x["memory_input_norm"], self.eps, self.sums)

    def remember(self, t: int, seen: Array) -> Array:
        """Return what the memory reads for token t [1, 1, reads], and move the memory on."""
        x, place = self.x, self.places[:, t : t + 1]
        one = {**x, **self.state, "reset": x["reset"][:, t : t + 1]}
        found = parts.remember(self.config, self.written(t, seen), one, place, place, self.sums)
        reads = found.pop("reads").reshape(1, 1, -1)
        found["tail"] = parts.of_document(found["tail"], found["position"])
        self.state |= found
        return np.asarray(reads)

    def _joined(self, t: int, seen: Array, reads: Array) -> Array:
        """Return y of token t [1, 1, model]."""
        config, x, eps, sums = self.config, self.x, self.eps, self.sums
        # Detached: for the outer gradient the reads are constants.
        reads = reads.real if config["inner_grad"] == "detached" else reads
        logits = linear(self.n[:, t : t + 1], x["gate_weight"], sums) + x["gate_bias"]
        normed = rms_norm(seen, x["attention_norm"], eps, sums), rms_norm(reads, x["memory_norm"], eps, sums)
        _, joined = gate(str(config["gate"]), *normed, logits, float(config["floor"]))
        return np.asarray(x["x"][:, t : t + 1] + linear(joined, x["output"], sums))


def _state_names() -> list[str]:
    return [tensor.name for tensor in OPERATIONS[Op.MAC_BLOCK].outputs if tensor.name != "y"]


def mac_block(config: Config, x: Arrays, sums: Sums) -> dict[str, Array]:
    """Return y and the state after the call; each row of the batch by itself."""
    whole = {**MODEL, **config, "span": x["cache_keys"].shape[1] + 1}
    shared = {tensor.name for tensor in OPERATIONS[Op.MAC_BLOCK].inputs if tensor.axes[0] != "batch"}
    # A batch without rows is as it came.
    rows = [] if len(x["x"]) else [{"y": x["x"], **{name: x[name] for name in _state_names()}}]
    for b in range(len(x["x"])):
        walk = Walk(whole, {name: v if name in shared else v[b : b + 1] for name, v in x.items()}, sums)
        ys = [walk.token(t) for t in range(x["x"].shape[1])]
        walk.state["row_tail"] = parts.of_document(walk.tail, walk.state["position"])
        walk.state |= idle(str(config["rows"]), walk.x)
        rows.append({"y": np.concatenate(ys, axis=1) if ys else walk.x["x"], **walk.state})
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


ANSWERS: Final[Mapping[Op, Function]] = {Op.MAC_BLOCK: mac_block}
