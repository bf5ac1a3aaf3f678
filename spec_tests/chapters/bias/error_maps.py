"""docs/spec/bias.md in numpy: the loss of each attentional bias and its error map, analytic, one pair at a time.

Every map is that of loss_scale = 1/2: psi is linear in 2 loss_scale. Branches look at real parts, and a length of zero
has no direction, so that a complex step differentiates all of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from spec_tests.oracle.sums import ANY_ORDER, Sums
from spec_tests.port import Array, Scalar


@dataclass(frozen=True)
class Pair:
    """What a bias looks at: prediction and value of one pair, the threshold of the writing token, and its numbers."""

    prediction: Array
    value: Array
    threshold: float
    exponent: float
    smoothing: float
    sums: Sums = ANY_ORDER

    @property
    def error(self) -> Array:
        """The prediction less the value."""
        return np.asarray(self.prediction - self.value)

    @property
    def length(self) -> Array:
        """The length of the error."""
        return self.sums.norm(self.error)

    @property
    def smooth_length(self) -> Array:
        """The root of the squared length and the squared smoothing."""
        return np.asarray(np.sqrt(self.sums.dot(self.error, self.error) + self.smoothing**2))

    @property
    def smooth_squares(self) -> Array:
        """Each squared entry of the error and the squared smoothing."""
        return np.asarray(self.error**2 + self.smoothing**2)


def sign(x: Array) -> Array:
    """Return the sign of the real part of each entry, zero for zero."""
    return np.asarray(np.sign(x.real))


def l2(pair: Pair) -> Array:
    """Return e."""
    return pair.error


def dot(pair: Pair) -> Array:
    """Return -v."""
    return -pair.value


def lp(pair: Pair) -> Array:
    """Return p/2 e (e^2 + s^2)^(p/2 - 1), entry by entry."""
    p = pair.exponent
    return np.asarray(0.5 * p * pair.error * pair.smooth_squares ** (0.5 * p - 1.0))


def huber_coordinate(pair: Pair) -> Array:
    """Return each entry of e, cut at the threshold."""
    e = pair.error
    return np.asarray(np.where(np.abs(e.real) <= np.real(pair.threshold), e, pair.threshold * sign(e)))


def huber_norm(pair: Pair) -> Array:
    """Return e, shortened to the threshold where it is longer."""
    if pair.length.real <= np.real(pair.threshold):
        return pair.error
    return np.asarray(pair.threshold * pair.error / pair.length)


def yaad_printed(pair: Pair) -> Array:
    """Return e where it is no longer than the threshold, else delta sign(e)."""
    if pair.length.real <= np.real(pair.threshold):
        return pair.error
    return np.asarray(pair.threshold * sign(pair.error))


def robust(pair: Pair) -> Array:
    """Return e + Delta e/r with r = sqrt(||e||^2 + s^2)."""
    return np.asarray(pair.error * (1.0 + pair.threshold / pair.smooth_length))


ERROR_MAPS: Final[Mapping[str, Callable[[Pair], Array]]] = {
    "l2": l2,
    "dot": dot,
    "lp": lp,
    "huber_coordinate": huber_coordinate,
    "huber_norm": huber_norm,
    "yaad_printed": yaad_printed,
    "robust": robust,
}
BIASES: Final = tuple(ERROR_MAPS)
"""The names of the attentional biases."""


def error_map(bias: str, pair: Pair) -> Array:
    """Return psi / (2 loss_scale)."""
    return ERROR_MAPS[bias](pair)


def numbers(config: Mapping[str, Scalar]) -> tuple[float, float]:
    """Return p and s of a configuration."""
    return float(config["exponent"]), float(config["smoothing"])


def curvature_factor(bias: str, pair: Pair) -> Array:
    """Return by how much the slope of psi / (2 loss_scale) can exceed one: what `mass` multiplies kappa by."""
    p = pair.exponent
    if bias == "dot":
        return np.asarray(0.0)
    if bias == "robust":
        return np.asarray(1.0 + pair.threshold / pair.smooth_length)
    if bias != "lp":
        return np.asarray(1.0)
    if p < 2.0:
        return np.asarray(0.5 * p * pair.smoothing ** (p - 2.0))
    squares = pair.smooth_squares
    return np.asarray(0.5 * p * (p - 1.0) * squares[int(squares.real.argmax())] ** (0.5 * p - 1.0))
