"""Error maps done wrongly: the loop of MIRAS with one method changed."""

from dataclasses import replace

import numpy as np

from spec_tests.chapters.bias.error_maps import Pair, error_map, huber_coordinate, huber_norm, l2
from spec_tests.chapters.memory_step.loop import Cell, Inputs, Matrices, Token
from spec_tests.chapters.miras_scan.loop import Miras, Writer
from spec_tests.port import Array


class OfBias(Miras):
    """One bias done wrongly, or one of a few: `wrong` is its map."""

    names: tuple[str, ...] = ()

    def psi(self, pair: Pair) -> Array:
        return self.wrong(pair) if self.config["bias"] in self.names else super().psi(pair)

    def wrong(self, pair: Pair) -> Array:
        return l2(pair)


class DotDescends(OfBias):
    names = ("dot",)

    def wrong(self, pair: Pair) -> Array:
        return pair.value


class DotSeesTheMemory(OfBias):
    """The squared error, where the dot product is asked."""

    names = ("dot",)


class PowerTooHigh(OfBias):
    """|e|^p where |e|^(p-1) is the slope."""

    names = ("lp",)

    def wrong(self, pair: Pair) -> Array:
        return np.asarray(0.5 * pair.exponent * np.sign(pair.error.real) * pair.smooth_squares ** (0.5 * pair.exponent))


class PaperFactor(OfBias):
    """p where p/2 belongs: at p = 2 twice the squared error."""

    names = ("lp",)

    def wrong(self, pair: Pair) -> Array:
        return 2.0 * error_map("lp", pair)


class TanhForSign(OfBias):
    """tanh(10 e) (e^2 + s^2)^((p-1)/2), the gradient of no loss."""

    names = ("lp",)

    def wrong(self, pair: Pair) -> Array:
        p = pair.exponent
        return np.asarray(0.5 * p * np.tanh(10.0 * pair.error) * pair.smooth_squares ** (0.5 * (p - 1.0)))


class NormForCoordinate(OfBias):
    names = ("huber_coordinate",)

    def wrong(self, pair: Pair) -> Array:
        return huber_norm(pair)


class CoordinateForNorm(OfBias):
    names = ("huber_norm",)

    def wrong(self, pair: Pair) -> Array:
        return huber_coordinate(pair)


class ThresholdByWidth(OfBias):
    """delta divided by the number of values."""

    names = ("huber_norm", "huber_coordinate", "yaad_printed")

    def wrong(self, pair: Pair) -> Array:
        shorter = replace(pair, threshold=pair.threshold / len(pair.value))
        return error_map(str(self.config["bias"]), shorter)


class Jumps(OfBias):
    """Half the threshold beyond it."""

    names = ("huber_norm",)

    def wrong(self, pair: Pair) -> Array:
        cut = huber_norm(pair)
        return cut if pair.length.real <= np.real(pair.threshold) else np.asarray(0.5 * cut)


class AlwaysCut(OfBias):
    """Every error cut to a length of a half."""

    names = ("huber_norm", "huber_coordinate")

    def wrong(self, pair: Pair) -> Array:
        return np.asarray(pair.error * min(1.0, 0.5 / max(float(pair.length.real), 1e-30)))


class Grows(OfBias):
    """A length beyond the threshold counts by its root."""

    names = ("huber_norm",)

    def wrong(self, pair: Pair) -> Array:
        return np.asarray(huber_norm(pair) * np.sqrt(np.maximum(1.0, pair.length.real / np.real(pair.threshold))))


class NormForSign(OfBias):
    """The direction of the error for the signs of its entries."""

    names = ("yaad_printed",)

    def wrong(self, pair: Pair) -> Array:
        return huber_norm(pair)


class RobustShrinks(OfBias):
    """The second term taken away."""

    names = ("robust",)

    def wrong(self, pair: Pair) -> Array:
        return np.asarray(pair.error * (1.0 - pair.threshold / pair.smooth_length))


class RobustAlone(OfBias):
    """The second term alone: at delta = 0 nothing is learned."""

    names = ("robust",)

    def wrong(self, pair: Pair) -> Array:
        return np.asarray(pair.error * pair.threshold / pair.smooth_length)


class MeanOverValues(Miras):
    """The loss as a mean over the entries of the value."""

    def psi(self, pair: Pair) -> Array:
        return np.asarray(super().psi(pair) / len(pair.value))


class LossScaleIgnored(Miras):
    def error(self, cell: Cell, key: Array, value: Array) -> Array:
        return np.asarray(super().error(cell, key, value) / (2.0 * float(self.config["loss_scale"])))


class AbsoluteError(OfBias):
    """The signs of the error for the error."""

    names = ("l2",)

    def wrong(self, pair: Pair) -> Array:
        return np.asarray(np.sign(pair.error.real))


class SignOfZero(Miras):
    """An entry of zero counts as positive: what is right is written nevertheless."""

    def psi(self, pair: Pair) -> Array:
        found = super().psi(pair)
        right = (np.abs(pair.error.real) == 0.0) & (self.config["bias"] != "dot")
        return np.asarray(np.where(right, 0.01, found))


class OwnThreshold(Miras):
    """The threshold of each pair's own token: what the window would carry."""

    def run(self, inputs: Inputs) -> dict[str, Array]:
        self.known: dict[bytes, float] = {}
        return super().run(inputs)

    def window_gradient(self, cell: Cell, token: Token) -> Matrices:
        assert isinstance(token, Writer)
        self.known[token.value.tobytes()] = token.threshold
        return super().window_gradient(cell, token)

    def pair(self, prediction: Array, value: Array) -> Pair:
        found = super().pair(prediction, value)
        return replace(found, threshold=self.known.get(value.tobytes(), found.threshold))


class WindowTogether(Miras):
    """The length of the error over all pairs of the window together."""

    lengths: list[float]

    def psi(self, pair: Pair) -> Array:
        found = super().psi(pair)
        self.lengths.append(float(np.real(pair.length)))
        together = self.lengths[-1] / max(self.lengths)
        return np.asarray(found * together) if self.config["bias"] == "huber_norm" else found

    def window_gradient(self, cell: Cell, token: Token) -> Matrices:
        self.lengths = []
        return super().window_gradient(cell, token)


class HeadsTogether(Miras):
    """The threshold of the first head for every head."""

    def see(self, inputs: Inputs, row: int, t: int, head: int) -> Writer:
        return replace(super().see(inputs, row, t, head), threshold=inputs["threshold"][row, t, 0])


class Factor(Miras):
    """kappa by another factor for one bias: `factor` is what the right one is multiplied by."""

    names: tuple[str, ...] = ()
    factor = 0.5

    def curvature(self, weights: Matrices, key: Array, value: Array) -> float:
        found = super().curvature(weights, key, value)
        if self.config["bias"] == "dot" and "dot" in self.names:
            return float(self.sums.dot(key, key).real)
        return found * (self.factor if self.config["bias"] in self.names and self.applies() else 1.0)

    def applies(self) -> bool:
        return True


def factor_of(*names: str) -> type[Miras]:
    """Return the loop with another factor of kappa for these biases."""
    return type("FactorOf" + "".join(names), (Factor,), {"names": names})


class SteepLp(Factor):
    """The factor of `lp` for p >= 2 done wrongly."""

    names = ("lp",)

    def applies(self) -> bool:
        return float(self.config["exponent"]) >= 2.0


class FlatLp(Factor):
    """The factor of `lp` for p < 2 done wrongly."""

    names = ("lp",)

    def applies(self) -> bool:
        return float(self.config["exponent"]) < 2.0
