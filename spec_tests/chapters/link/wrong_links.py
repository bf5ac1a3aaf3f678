"""Links done wrongly: the loop of MIRAS with one method changed."""

import numpy as np

from spec_tests.chapters.link.links import linked, lq, lq_printed, row_logarithms, softmax
from spec_tests.chapters.memory_step.loop import Cell, Matrices, Token
from spec_tests.chapters.miras_scan.loop import Miras
from spec_tests.port import Array


class RecurrenceOnW(Miras):
    """Retention and write act on W, which is carried on as if it were A."""

    def retained(self, weights: Matrices, token: Token) -> Matrices:
        return super().retained(self.linked(weights), token)


class ReadsTheDual(Miras):
    def read(self, cell: Cell, token: Token) -> Array:
        return self.value(cell.weights, token.query)


class GradientAtTheDual(Miras):
    def seen(self, cell: Cell, token: Token) -> Matrices:
        return cell.anchor if self.config["error_at"] == "previous" else super().seen(cell, token)


class ThroughTheLink(Miras):
    """The gradient by A: the chain rule through the link, where mirror descent has none."""

    def write(self, cell: Cell, token: Token, gradient: Matrices) -> None:
        pairs = zip(cell.anchor, gradient, strict=True)
        super().write(cell, token, [self.chained(dual, part) for dual, part in pairs])

    def chained(self, dual: Array, part: Array) -> Array:
        """Return the product of a gradient by W with the Jacobian of the link, by central differences."""
        step, result = 1e-6, np.zeros_like(part)
        for place in np.ndindex(dual.shape):
            moved = np.zeros_like(dual)
            moved[place] = step
            up, down = (linked(self.config, dual + sign * moved, self.sums) for sign in (1.0, -1.0))
            result[place] = (part * (up - down)).sum() / (2.0 * step)
        return result


class PrintedForExact(Miras):
    def linked(self, dual: Matrices) -> Matrices:
        return (
            [lq_printed(self.config, a, self.sums) for a in dual]
            if self.config["link"] == "lq"
            else super().linked(dual)
        )


class ExactForPrinted(Miras):
    def linked(self, dual: Matrices) -> Matrices:
        printed = self.config["link"] == "lq_printed"
        return [lq(self.config, a, self.sums) for a in dual] if printed else super().linked(dual)


class ConjugateExponent(Miras):
    """q and its conjugate swapped."""

    def linked(self, dual: Matrices) -> Matrices:
        if self.config["link"] != "lq":
            return super().linked(dual)
        q = float(self.config["link_exponent"])
        config = {**self.config, "link_exponent": q / (q - 1.0)}
        return [lq(config, a, self.sums) for a in dual]


class SoftmaxOfAll(Miras):
    """Over the whole matrix."""

    def linked(self, dual: Matrices) -> Matrices:
        if self.config["link"] != "softmax":
            return super().linked(dual)
        return [softmax(self.config, a.reshape(1, -1), self.sums).reshape(a.shape) for a in dual]


class SoftmaxOfColumns(Miras):
    def linked(self, dual: Matrices) -> Matrices:
        if self.config["link"] != "softmax":
            return super().linked(dual)
        return [softmax(self.config, a.T, self.sums).T for a in dual]


class LogitsAsTheyGrew(Miras):
    """The state is returned as it is."""

    def settled(self, dual: Matrices) -> Matrices:
        return dual


class ScaledLogits(Miras):
    """log W for log(W/c)."""

    def settled(self, dual: Matrices) -> Matrices:
        scale = np.log(float(self.config["link_scale"])) if self.config["link"] == "softmax" else 0.0
        return [a + scale for a in super().settled(dual)]


class NotShrunk(Miras):
    """The level ignored."""

    def linked(self, dual: Matrices) -> Matrices:
        return dual if self.config["link"] == "soft_threshold" else super().linked(dual)


class ShrunkInTheState(Miras):
    """A itself shrunk after every write: the proximal retention for the link."""

    def write(self, cell: Cell, token: Token, gradient: Matrices) -> None:
        super().write(cell, token, gradient)
        if self.config["link"] == "soft_threshold":
            cell.weights = self.linked(cell.weights)


class RetentionInTheLogarithm(Miras):
    """log(alpha W) where alpha log W belongs: on logits a constant, which forgets nothing."""

    def retained(self, weights: Matrices, token: Token) -> Matrices:
        if self.config["link"] != "softmax":
            return super().retained(weights, token)
        return [a + np.log(np.maximum(np.real(token.retention), 1e-30)) for a in weights]


class StaleMaximum(Miras):
    """Logits cut at what was the largest of their row: what is kept is of other numbers."""

    def retained(self, weights: Matrices, token: Token) -> Matrices:
        found = super().retained(weights, token)
        if self.config["link"] != "softmax":
            return found
        return [np.asarray(np.minimum(a.real, row_logarithms(a, self.sums).real - 1.0)) for a in found]


class DividesByZero(Miras):
    """A quotient of zeros for a state of zeros."""

    def linked(self, dual: Matrices) -> Matrices:
        found = super().linked(dual)
        return [
            w if a.any() or self.config["link"] != "lq" else np.full_like(w, np.nan)
            for w, a in zip(found, dual, strict=True)
        ]


class ResetToTheLinked(Miras):
    """A reset restores link(A_0) as the state, which is linked once more when it is read."""

    def begin(self, cell: Cell, initial: Matrices) -> None:
        super().begin(cell, self.linked(initial))


class SigmoidByTanh(Miras):
    """(1 + tanh(A)) / 2: sigmoid(2 A)."""

    def linked(self, dual: Matrices) -> Matrices:
        if self.config["link"] != "sigmoid":
            return super().linked(dual)
        return [np.asarray(0.5 * (1.0 + np.tanh(a))) for a in dual]


class OneNormForAll(Miras):
    """One norm over all matrices of a memory."""

    def linked(self, dual: Matrices) -> Matrices:
        if self.config["link"] != "lq" or len(dual) == 1:
            return super().linked(dual)
        whole = lq(self.config, np.concatenate([a.ravel() for a in dual]), self.sums)
        cuts = np.cumsum([a.size for a in dual])[:-1]
        return [part.reshape(a.shape) for part, a in zip(np.split(whole, cuts), dual, strict=True)]
