"""The memory in jax: what both forms share, and the recurrence, a `lax.scan` over tokens.

A function of one row and one head, then `vmap` over heads and rows. The plan is the form of the memory and whether the
rule orthogonalises; everything else of a configuration is traced, so rules share their programs.
"""

from collections.abc import Callable
from functools import partial
from math import pi, prod, sqrt
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from spec_tests.ports.jax.arrays import (
    NORM_EPS,
    Config,
    Lengths,
    NumpyInputs,
    Tensors,
    coefficients,
    orthogonalise,
    root,
)

Matrices = tuple[Array, ...]


class Form(NamedTuple):
    """What a program is compiled for."""

    architecture: str
    orthogonalised: bool


class Options(NamedTuple):
    """What a program is told: the rest of the configuration, and the numbers of tokens and of places."""

    count: Any
    window: Any
    chunk: Any
    step_inside: Any
    has_momentum: Any
    carry: Any
    read_before: Any
    mass: Any
    loss_slope: Any
    horizon: Any
    table: Any
    offset: Any


class Tokens(NamedTuple):
    """What one row and head sees: [time, ...]."""

    keys: Array
    values: Array
    queries: Array
    retention: Array
    momentum_decay: Array
    step_size: Array
    window_weights: Array
    reset: Array


class State(NamedTuple):
    """The memory of one row and head."""

    weights: Matrices
    momentum: Matrices
    anchor: Matrices
    window_keys: Array
    window_values: Array
    position: Array


class Pairs(NamedTuple):
    """Gradients of single pairs, each an outer product a matrix of the memory: left[p] right[p]^T."""

    left: Matrices
    right: Matrices


_PACKED: Final = ("weights", "momentum", "anchor")
_WINDOW: Final = ("window_keys", "window_values")
Row = Callable[[Tokens, Matrices, State, Any], tuple[Tensors, State]]


def plan(config: Config, _: NumpyInputs, lengths: Lengths) -> tuple[Form, Options]:
    """Return the form and the options of a configuration (chapter RULE)."""
    rule, mass = config["rule"], config["step_scale"] == "mass"
    table = coefficients(config["coefficients"], config["newton_schulz_steps"])
    bound = config["momentum_max"] if mass and rule != "delta" else 0.0
    options = Options(
        count=lengths.get("time", 1),
        window=lengths["window"],
        chunk=config["chunk"],
        step_inside=rule in ("titans", "atlas_appendix"),
        has_momentum=rule != "delta",
        carry=config["boundary"] == "carry",
        read_before=config["read"] == "pre",
        mass=mass,
        loss_slope=2.0 * config["loss_scale"],
        horizon=bound / (1.0 - bound),
        table=table,
        offset=float(prod(table[:, 0])) if mass else NORM_EPS,
    )
    return Form(config["architecture"], rule in ("atlas", "atlas_appendix")), options


def matrices(form: Form, packed: Array, features: int, values: int) -> Matrices:
    """Return the matrices of a vector of parameters."""
    if form.architecture == "matrix":
        return (packed.reshape(values, features),)
    hidden = packed.shape[0] // (values + features)
    outer, inner = packed[: values * hidden], packed[values * hidden :]
    return outer.reshape(values, hidden), inner.reshape(hidden, features)


def pack(parts: Matrices) -> Array:
    """Return the vector of parameters."""
    return jnp.concatenate([part.ravel() for part in parts])


def gelu(z: Array) -> Array:
    """Return z Phi(z)."""
    return z * normal_cdf(z)


def normal_cdf(z: Array) -> Array:
    """Return Phi(z)."""
    return 0.5 * lax.erfc(-z / sqrt(2.0))


def gelu_slope(z: Array) -> Array:
    """Return Phi(z) + z phi(z)."""
    return normal_cdf(z) + z * jnp.exp(-0.5 * z**2) * sqrt(0.5 / pi)


def identity_part(x: Array, width: int) -> Array:
    """Return the first `width` entries of each row, zeros behind them where rows are shorter (MEM-3)."""
    return jnp.pad(x[:, :width], ((0, 0), (0, max(0, width - x.shape[1]))))


def predict(weights: Matrices, x: Array) -> Array:
    """Return M(x) of each row of x (MEM-3)."""
    if len(weights) == 1:
        return x @ weights[0].T
    outer, inner = weights
    return identity_part(x, outer.shape[0]) + gelu(x @ inner.T) @ outer.T


def pair_gradients(options: Options, anchor: Matrices, keys: Array, values: Array) -> Pairs:
    """Return the gradient of every pair at the anchor, divided by max(1, kappa) with `mass` (RULE-6, RULE-10)."""
    error = predict(anchor, keys) - values
    square = jnp.sum(keys**2, axis=1)
    if len(anchor) == 1:
        curvature = square
    else:
        outer, inner = anchor
        z = keys @ inner.T
        hidden, slope = gelu(z), gelu_slope(z)
        steepness = jnp.sum(slope**2 * jnp.sum(outer**2, axis=0), axis=1)
        coupling = 1.13 * root(square) * root(jnp.sum(error**2, axis=1))
        curvature = jnp.sum(hidden**2, axis=1) + square * steepness + coupling
    scale = options.loss_slope / jnp.where(options.mass, jnp.maximum(curvature, 1.0), 1.0)
    error = scale[:, None] * error
    if len(anchor) == 1:
        return Pairs((error,), (keys,))
    return Pairs((error, (error @ outer) * slope), (hidden, keys))


def write_factors(options: Options, tokens: Tokens) -> tuple[Array, Array, Array]:
    """Return theta, intake and release of each token (RULE-1 to RULE-4, RULE-9)."""
    decay = jnp.where(options.has_momentum, tokens.momentum_decay, 0.0)
    step = jnp.where(options.mass, tokens.step_size / (options.chunk + options.horizon), tokens.step_size)
    fresh = jnp.where(options.mass, 1.0 - decay, 1.0)
    return decay, jnp.where(options.step_inside, -step, 1.0) * fresh, jnp.where(options.step_inside, 1.0, -step)


def band(options: Options, gamma: Array, position: Array) -> Array:
    """Return the weight of each age [..., window] for tokens at these positions, 0 for pairs out of sight (WIN)."""
    oldest = jnp.where(options.carry, position, position % options.chunk)
    weights = jnp.where(options.mass, gamma / options.window, gamma)
    return jnp.where(np.arange(gamma.shape[-1]) <= oldest[..., None], weights, 0.0)


def choose(condition: Any, yes: Any, no: Any) -> Any:
    """Return one of two trees of arrays."""
    return jax.tree.map(partial(jnp.where, condition), yes, no)


def live_window(state: State, position: Array) -> tuple[Array, Array]:
    """Return the carried pairs, zero where they are older than the document (MEM-5, MEM-6)."""
    past = state.window_keys.shape[0]
    live = (np.arange(past, 0, -1) <= position)[:, None]
    return jnp.where(live, state.window_keys, 0.0), jnp.where(live, state.window_values, 0.0)


def _turn(form: Form, options: Options, initial: Matrices, state: State, seen: Tokens) -> tuple[State, Tensors]:
    """Take one token: reset, anchor, write, read (MEM-1)."""
    begins = (seen.reset != 0) | (state.position == 0)
    position = jnp.where(begins, 0, state.position)
    weights, momentum = choose(begins, (initial, jax.tree.map(jnp.zeros_like, initial)), state[:2])
    anchor = choose(position % options.chunk == 0, weights, state.anchor)
    keys, values = (
        jnp.concatenate([past, new[None]])
        for past, new in zip(live_window(state, position), (seen.keys, seen.values), strict=True)
    )
    pairs = pair_gradients(options, anchor, keys, values)
    ages = band(options, seen.window_weights, position)[::-1]
    gradient = tuple((ages[:, None] * left).T @ right for left, right in zip(*pairs, strict=True))
    decay, intake, release = write_factors(options, seen)
    after = tuple(decay * s + intake * g for s, g in zip(momentum, gradient, strict=True))
    updates = tuple(orthogonalise(s, options.table, options.offset) for s in after) if form.orthogonalised else after
    written = tuple(seen.retention * m + release * u for m, u in zip(weights, updates, strict=True))
    read = predict(choose(options.read_before, weights, written), seen.queries[None])[0]
    shown = {"reads": read, "gradient": pack(gradient), "momentum_trace": pack(after), "weights_trace": pack(written)}
    return State(written, after, anchor, keys[1:], values[1:], position + 1), shown


def recurrence(form: Form, options: Options, tokens: Tokens, initial: Matrices, state: State, _: Any) -> Any:
    """Take the tokens of one row and head in turn (MEM-2); padding leaves the state alone."""

    def token(before: State, seen: tuple[Tokens, Array]) -> tuple[State, Tensors]:
        after, shown = _turn(form, options, initial, before, seen[0])
        return choose(seen[1], after, before), shown

    there = jnp.arange(tokens.keys.shape[0]) < options.count
    last, shown = lax.scan(token, state, (tokens, there))
    return shown, last


def over_rows_and_heads(form: Form, function: Row, x: Tensors, layout: Any = ()) -> Tensors:
    """Run a function of one row and head on all of them; `layout` belongs to the row."""
    read_in = partial(matrices, form, features=x["keys"].shape[-1], values=x["values"].shape[-1])

    def head(tokens: Tensors, initial: Array, packed: Tensors, layout: Any) -> tuple[Tensors, Tensors]:
        weights, momentum, anchor = (read_in(packed[name]) for name in _PACKED)
        keys, values = (packed[name] for name in _WINDOW)
        state = State(weights, momentum, anchor, keys, values, packed["position"])
        shown, last = function(Tokens(**tokens), read_in(initial), state, layout)
        return shown, last._asdict() | {name: pack(getattr(last, name)) for name in _PACKED}

    tokens, states = ({name: x[name] for name in group._fields} for group in (Tokens, State))
    by_head = dict.fromkeys(Tokens._fields, 1) | {"reset": None}
    state_by_head = dict.fromkeys(_PACKED, 0) | dict.fromkeys(_WINDOW, 1) | {"position": None}
    heads = jax.vmap(head, in_axes=(by_head, 0, state_by_head, None), out_axes=(1, state_by_head))
    shown, last = jax.vmap(heads, in_axes=(0, None, 0, 0))(tokens, x["initial"], states, layout)
    return shown | last
