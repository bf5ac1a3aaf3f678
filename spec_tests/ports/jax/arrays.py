"""What the parts of the jax port share: types, safe norms, and the coefficients of Newton-Schulz.

A function of an operation takes a hashable plan, a tree of traced options and named inputs, and returns named outputs.
Options are traced rather than built in where they can be, because every other plan or shape is another compilation.
Inputs are padded (`padding.py`); the lengths of what is there come with the plan.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from spec_tests.port import Array as NumpyArray

Tensors = dict[str, Array]
Config = Mapping[str, Any]
NumpyInputs = Mapping[str, NumpyArray]
Function = Callable[[Hashable, Any, Tensors], Tensors]
Lengths = Mapping[str, int]
Plan = Callable[[Config, NumpyInputs, Lengths], tuple[Hashable, Any]]

# arXiv 2505.16932; all but the last with x divided by 1.01.
_POLAR_EXPRESS: Final = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
)

_CUSHIONED: Final = (*((a / 1.01, b / 1.01**3, c / 1.01**5) for a, b, c in _POLAR_EXPRESS), (1.875, -1.25, 0.375))
_TABLES: Final = {
    "quintic": ((3.4445, -4.7750, 2.0315),),
    "cubic": ((1.5, -0.5, 0.0),),
    "polar_express": _CUSHIONED,
    "polar_express_paper": _CUSHIONED,
}

NORM_EPS: Final = 1e-7


@dataclass(frozen=True)
class Implementation:
    """One operation: its function, and how a configuration becomes the function's plan and options."""

    function: Function
    plan: Plan


Start = tuple[float, bool]
PLAIN: Final[Start] = (1.0, False)


def start_of(config: Config) -> Start:
    """Return how Newton-Schulz starts (NS-11, NS-12)."""
    return (1.01 if config["coefficients"] == "polar_express_paper" else 1.0, config["start"] == "clamp")


def coefficients(name: str, steps: int) -> NumpyArray:
    """Return a, b, c of each step [steps, 3]; past the end of a set its last step repeats (NS-1)."""
    table = _TABLES[name]
    return np.array([table[min(i, len(table) - 1)] for i in range(steps)]).reshape(steps, 3)


def root(square: Array) -> Array:
    """Return the square root, with gradient zero where it is zero."""
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)


def largest(x: Array, axis: int | tuple[int, ...], floor: float = 0.0) -> Array:
    """Return max(floor, max |x|) along an axis kept, 1 where that is zero: a constant to divide by before squaring."""
    top = jnp.maximum(lax.stop_gradient(jnp.max(jnp.abs(x), axis=axis, keepdims=True)), floor)
    return jnp.where(top > 0, top, 1.0)


def orthogonalise(matrix: Array, table: Array, offset: Array | float, start: Start = PLAIN) -> Array:
    """Return Newton-Schulz of one matrix, started at G / (||G||_F + offset), one step a row of `table` (NS-1, NS-2).

    `start`: what multiplies the norm, and whether the larger of norm and offset takes the place of their sum.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonalise(matrix.T, table, offset, start).T
    factor, clamped = start
    top = largest(matrix, (0, 1))
    norm = factor * top * root(jnp.sum((matrix / top) ** 2))
    divisor = jnp.maximum(norm, offset) if clamped else norm + offset

    def step(x: Array, abc: Array) -> tuple[Array, None]:
        gram = x @ x.T
        return abc[0] * x + (abc[1] * gram + abc[2] * gram @ gram) @ x, None

    return lax.scan(step, matrix / divisor, table.astype(matrix.dtype))[0]


def without_bad(x: Array) -> tuple[Array, Array]:
    """Return x with zeros in the vectors (last axis) that hold something that is no number, and which those were.

    A derivative passes a product as zero times its other factor, which is no number where that is none.
    """
    bad = ~jnp.isfinite(x).all(-1)
    return jnp.where(bad[..., None], 0.0, x), bad


def lags(past: Array, new: Array) -> Array:
    """Return, for each new entry, itself and the entries before it by age: [time, len(past) + 1, ...]."""
    everything = jnp.concatenate([past, new])
    newest = len(past) + np.arange(len(new))
    return everything[newest[:, None] - np.arange(len(past) + 1)]


def newest(past: Array, new: Array, count: Array) -> Array:
    """Return the last len(past) entries after `count` new ones."""
    return lax.dynamic_slice_in_dim(jnp.concatenate([past, new]), count, len(past))


def by_length(_: Config, __: NumpyInputs, lengths: Lengths) -> tuple[Hashable, Any]:
    return None, lengths["time"]
