"""The parallel form of the memory in jax: a scan over chunks, everything inside a chunk by matrix products (CHUNK-3).

All gradients of a chunk are taken at its anchor, so every pair's gradient is one outer product l_p r_p^T and

    S_i = (prod theta) S + sum_p G[i, p] l_p r_p^T      G = D_theta intake B
    M_t = (prod alpha) M + K_t S + sum_p P[t, p] l_p r_p^T      P = D_alpha release G

with B the weights of the window and D[i, j] the product of the decays after j up to i. The linear rules read from the
right-hand side without ever forming M_t. Newton-Schulz needs each S_i as a matrix.

Where chunks begin differs from row to row, with the phase of the row and its resets. The host lays the tokens of each
row out as [chunks, length], padded, before the program runs. A chunk of more than `LONGEST` tokens is taken in pieces
with one anchor: the work inside grows with the square of the length.
"""

from collections.abc import Hashable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from spec_tests.port import Array as NumpyArray
from spec_tests.port import Op
from spec_tests.ports.jax.arrays import Config, Implementation, Lengths, NumpyInputs, Tensors, orthogonalise
from spec_tests.ports.jax.memory import (
    Form,
    Matrices,
    Options,
    Pairs,
    State,
    Tokens,
    band,
    choose,
    gelu,
    identity_part,
    live_window,
    over_rows_and_heads,
    pair_gradients,
    plan,
    predict,
    write_factors,
)
from spec_tests.ports.jax.padding import rung

LONGEST: Final = 32


class Layout(NamedTuple):
    """Where the tokens of each row stand in its chunks: [batch, chunks, length] or [batch, chunks], and the way back.

    `position` is that of the first token of a chunk in its document; `home` the place of each token [batch, time].
    """

    index: Any
    length: Any
    position: Any
    begins: Any
    home: Any


class Mixture(NamedTuple):
    """M_t of every token in terms of the start of the chunk: M by `kept` [time], S by `pushed`, pairs by `written`."""

    kept: Array
    pushed: Array
    written: Array


def chunk_starts(config: Config, reset: NumpyArray, position: int) -> list[tuple[int, int, bool]]:
    """Return for each chunk of a row its first token, the position of that token, and whether it begins a document."""
    starts: list[tuple[int, int, bool]] = []
    for t, mark in enumerate(reset):
        begins = bool(mark) or position == 0
        position = 0 if begins else position
        if t == 0 or position % config["chunk"] == 0 or t - starts[-1][0] == LONGEST:
            starts.append((t, position, begins))
        position += 1
    return starts


def lay_out(config: Config, inputs: NumpyInputs, time: int) -> Layout:
    """Return the layout of every row (CHUNK-2), chunks and their number padded to few lengths."""
    resets, positions = inputs["reset"][:, :time], inputs["position"].tolist()
    rows = [chunk_starts(config, reset, position) for reset, position in zip(resets, positions, strict=True)]
    length = 8 if min(config["chunk"], time) <= 8 else LONGEST
    sizes = (len(rows), rung(max(map(len, rows)), (4, 16, 64)))
    layout = Layout(
        index=np.zeros((*sizes, length), np.int64),
        length=np.zeros(sizes, np.int64),
        position=np.zeros(sizes, np.int64),
        begins=np.zeros(sizes, bool),
        home=np.zeros(inputs["reset"].shape, np.int64),
    )
    for row, starts in enumerate(rows):
        for n, (first, position, begins) in enumerate(starts):
            end = starts[n + 1][0] if n + 1 < len(starts) else time
            layout.index[row, n, : end - first] = np.arange(first, end)
            layout.length[row, n], layout.position[row, n], layout.begins[row, n] = end - first, position, begins
            layout.home[row, first:end] = n * length + np.arange(end - first)
    return layout


def decays(factors: Array) -> Array:
    """Return D[i, j] = the product of the factors after j up to i, 0 where j > i; products only, so zeros are exact."""
    length = factors.shape[0]

    def row(above: Array, seen: tuple[Array, Array]) -> tuple[Array, Array]:
        products = seen[0] * above + seen[1]
        return products, products

    return lax.scan(row, jnp.zeros(length, factors.dtype), (factors, jnp.eye(length, dtype=factors.dtype)))[1]


def window_band(options: Options, gamma: Array, position: Array) -> Array:
    """Return the weight of each pair, carried ones first, in the gradient of each token: [time, past + time]."""
    time, window = gamma.shape
    weights = band(options, gamma, position + np.arange(time))
    ages = np.arange(time)[:, None] + window - 1 - np.arange(window - 1 + time)
    seen = (ages >= 0) & (ages < window)
    return jnp.where(seen, jnp.take_along_axis(weights, np.clip(ages, 0, window - 1), axis=1), 0.0)


def mixtures(options: Options, tokens: Tokens, position: Array, there: Array) -> tuple[Array, Array, Array, Array]:
    """Return prod theta [time], G [time, pairs], prod alpha [time] and D_alpha release; padding changes nothing."""
    decay, intake, release = write_factors(options, tokens)
    decay, kept = (jnp.where(there, gate, 1.0) for gate in (decay, tokens.retention))
    intake, release = (jnp.where(there, factor, 0.0) for factor in (intake, release))
    theta, alpha = decays(decay), decays(kept)
    gather = (theta * intake) @ window_band(options, tokens.window_weights, position)
    return theta[:, 0] * decay[0], gather, alpha[:, 0] * kept[0], alpha * release


def apply(mixture: Mixture, matrix: Array, momentum: Array, left: Array, right: Array, x: Array) -> Array:
    """Return M_t x_t of every token for one matrix of the memory, without forming M_t."""
    carried = mixture.kept[:, None] * (x @ matrix.T) + mixture.pushed[:, None] * (x @ momentum.T)
    return carried + (mixture.written * (x @ right.T)) @ left


def linear_reads(mixture: Mixture, weights: Matrices, momentum: Matrices, pairs: Pairs, queries: Array) -> Array:
    """Return the read of every token under a linear rule."""
    parts = tuple(zip(weights, momentum, *pairs, strict=True))
    if len(parts) == 1:
        return apply(mixture, *parts[0], queries)
    hidden = gelu(apply(mixture, *parts[1], queries))
    return identity_part(queries, weights[0].shape[0]) + apply(mixture, *parts[0], hidden)


def shifted(options: Options, before: Array | float, each: Array) -> Array:
    """Return what each token reads from: its own entry, or with `pre` that of the token before it (MEM-4)."""
    first = jnp.broadcast_to(jnp.asarray(before, each.dtype), each.shape[1:])
    return jnp.where(options.read_before, jnp.concatenate([first[None], each[:-1]]), each)


def _linear(
    options: Options, weights: Matrices, momentum: Matrices, pairs: Pairs, mixed: tuple[Array, ...], queries: Array
) -> tuple[Array, Matrices, Matrices]:
    theta, gather, alpha, release = mixed
    mixture = Mixture(alpha, release @ theta, release @ gather)
    seen = Mixture(*(shifted(options, start, part) for start, part in zip((1.0, 0.0, 0.0), mixture, strict=True)))
    reads = linear_reads(seen, weights, momentum, pairs, queries)
    sums = tuple(zip(weights, momentum, *pairs, strict=True))
    last = jax.tree.map(lambda part: part[-1], mixture)
    written = tuple(last.kept * m + last.pushed * s + (last.written[:, None] * a).T @ b for m, s, a, b in sums)
    after = tuple(theta[-1] * s + (gather[-1][:, None] * a).T @ b for _, s, a, b in sums)
    return reads, written, after


def _orthogonalised(
    options: Options, weights: Matrices, momentum: Matrices, pairs: Pairs, mixed: tuple[Array, ...], queries: Array
) -> tuple[Array, Matrices, Matrices]:
    theta, gather, alpha, release = mixed
    every: list[Array] = []
    after: list[Array] = []
    for matrix, start, left, right in zip(weights, momentum, *pairs, strict=True):
        traces = theta[:, None, None] * start + jnp.einsum("tp,po,pi->toi", gather, left, right)
        updates = jax.vmap(lambda s: orthogonalise(s, options.table, options.offset))(traces)
        every.append(alpha[:, None, None] * matrix + jnp.einsum("tl,loi->toi", release, updates))
        after.append(traces[-1])
    seen = tuple(shifted(options, start, each) for start, each in zip(weights, every, strict=True))
    reads = jax.vmap(lambda parts, query: predict(parts, query[None])[0])(seen, queries)
    return reads, tuple(each[-1] for each in every), tuple(after)


def _chunk(
    form: Form, options: Options, tokens: Tokens, initial: Matrices, state: State, here: Layout
) -> tuple[State, Array]:
    """Take one chunk: reset, anchor, all writes and reads of its tokens; an empty one leaves the state alone."""
    there = np.arange(here.index.shape[0]) < here.length
    # Places behind the end stand for the first token of the row, which may be of another document and no number.
    mine = jax.tree.map(lambda each: jnp.where(there.reshape(-1, *(1,) * (each.ndim - 1)), each[here.index], 0), tokens)
    weights, momentum = choose(here.begins, (initial, jax.tree.map(jnp.zeros_like, initial)), state[:2])
    anchor = choose(here.position % options.chunk == 0, weights, state.anchor)
    past_keys, past_values = live_window(state, here.position)
    keys, values = jnp.concatenate([past_keys, mine.keys]), jnp.concatenate([past_values, mine.values])
    pairs = pair_gradients(options, anchor, keys, values)
    mixed = mixtures(options, mine, here.position, there)
    inside = _orthogonalised if form.orthogonalised else _linear
    reads, written, after = inside(options, weights, momentum, pairs, mixed, mine.queries)
    last = partial(lax.dynamic_slice_in_dim, start_index=here.length, slice_size=past_keys.shape[0])
    new = State(written, after, anchor, last(keys), last(values), here.position + here.length)
    return choose(here.length > 0, new, state), reads


def _chunks(form: Form, options: Options, tokens: Tokens, initial: Matrices, state: State, layout: Layout) -> Any:
    """Take the chunks of one row and head in turn."""

    def step(before: State, here: Layout) -> tuple[State, Array]:
        return _chunk(form, options, tokens, initial, before, here)

    each = (layout.index, layout.length, layout.position, layout.begins)
    last, reads = lax.scan(lambda before, here: step(before, Layout(*here, None)), state, each)
    return {"reads": reads.reshape(-1, reads.shape[-1])[layout.home]}, last


def memory_chunked(form: Hashable, options: tuple[Options, Layout], x: Tensors) -> Tensors:
    """Return reads and state of the parallel form (CHUNK-5)."""
    assert isinstance(form, Form)
    rule, layout = options
    return over_rows_and_heads(form, partial(_chunks, form, rule), x, layout)


def chunked_plan(config: Config, inputs: NumpyInputs, lengths: Lengths) -> tuple[Form, tuple[Options, Layout]]:
    """Return the form, and the options with the layout of every row."""
    form, options = plan(config, inputs, lengths)
    return form, (options, lay_out(config, inputs, lengths["time"]))


IMPLEMENTATIONS: Final[Mapping[Op, Implementation]] = {Op.MEMORY_CHUNKED: Implementation(memory_chunked, chunked_plan)}
