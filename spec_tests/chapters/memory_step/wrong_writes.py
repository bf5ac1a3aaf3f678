"""Writes of the memory done wrongly: signs, places of the step size, momentum, gradients, Newton-Schulz."""

import numpy as np

from spec_tests.chapters.memory_step.loop import Cell, Matrices, Oracle, Token, gelu_slope, identity_part, predict
from spec_tests.chapters.newton_schulz.oracle import coefficients_of
from spec_tests.port import Array


class Ascent(Oracle):
    def intake_and_release(self, token: Token) -> tuple[float, float]:
        intake, release = super().intake_and_release(token)
        return (-intake, release) if intake < 0 else (intake, -release)


class RetentionAfterWrite(Oracle):
    """M = alpha (M + U): the new write is forgotten too."""

    def write(self, cell: Cell, token: Token, gradient: Matrices) -> None:
        before = cell.weights
        super().write(cell, token, gradient)
        cell.weights = [
            token.retention * (m - token.retention * old + old) for m, old in zip(cell.weights, before, strict=True)
        ]


class MomentumDecayLate(Oracle):
    """S = theta (S + intake g): the decay one token late for the gradient, one early for the state."""

    def write(self, cell: Cell, token: Token, gradient: Matrices) -> None:
        super().write(cell, token, [self.decay(token) * part for part in gradient])


class MomentumUndecayed(Oracle):
    def decay(self, token: Token) -> float:
        return min(1.0, 1e9 * super().decay(token))


class StepInsideNewtonSchulz(Oracle):
    def write(self, cell: Cell, token: Token, gradient: Matrices) -> None:
        intake, release = self.intake_and_release(token)
        cell.momentum = [self.decay(token) * s + intake * g for s, g in zip(cell.momentum, gradient, strict=True)]
        updates = [self.update(release * s) for s in cell.momentum]
        cell.weights = [token.retention * m + u for m, u in zip(cell.weights, updates, strict=True)]


class WrongPolynomial(Oracle):
    """Newton-Schulz without the second power of the Gram matrix."""

    def update(self, momentum: Array) -> Array:
        if self.rule not in ("atlas", "atlas_appendix"):
            return momentum
        x = momentum / (np.sqrt((momentum**2).sum()) + 1e-7)
        for _ in range(int(self.config["newton_schulz_steps"])):
            x = 3.4445 * x - 4.7750 * x @ x.T @ x
        return np.asarray(x)


class TallLeftAlone(Oracle):
    """A tall matrix is normalised only."""

    def update(self, momentum: Array) -> Array:
        if momentum.shape[0] <= momentum.shape[1] or self.rule not in ("atlas", "atlas_appendix"):
            return super().update(momentum)
        return np.asarray(momentum / (np.sqrt((momentum**2).sum()) + 1e-7))


class OneNorm(Oracle):
    """One norm for all matrices of a memory."""

    def write(self, cell: Cell, token: Token, gradient: Matrices) -> None:
        self.norm = np.sqrt(sum(float((s**2).sum()) for s in cell.momentum)) + 1e-7
        super().write(cell, token, gradient)

    def update(self, momentum: Array) -> Array:
        x = momentum / self.norm
        for step in range(int(self.config["newton_schulz_steps"])):
            a, b, c = coefficients_of(str(self.config["coefficients"]), step)
            x = a * x + (b * np.eye(len(x)) + c * x @ x.T) @ x @ x.T @ x
        return np.asarray(x)


class DeltaWithMomentum(Oracle):
    def decay(self, token: Token) -> float:
        return token.decay


class LossScaleIgnored(Oracle):
    def pair_gradient(self, cell: Cell, key: Array, value: Array) -> Matrices:
        return [part / (2.0 * float(self.config["loss_scale"])) for part in super().pair_gradient(cell, key, value)]


class GradientDoubled(Oracle):
    def pair_gradient(self, cell: Cell, key: Array, value: Array) -> Matrices:
        return [2.0 * part for part in super().pair_gradient(cell, key, value)]


class InnerSlopeMissing(Oracle):
    """The error goes back through gelu as if it were the identity."""

    def pair_gradient(self, cell: Cell, key: Array, value: Array) -> Matrices:
        parts = super().pair_gradient(cell, key, value)
        if self.architecture == "matrix":
            return parts
        slope = gelu_slope(cell.anchor[1] @ key)
        return [parts[0], parts[1] / slope[:, None]]


class Hebbian(Oracle):
    """The gradient of -<M(k), v>: what is already stored does not count."""

    def pair_gradient(self, cell: Cell, key: Array, value: Array) -> Matrices:
        stored = predict(self.architecture, cell.anchor, key)
        return super().pair_gradient(cell, key, value + stored)


ORTHOGONALISED = ("atlas", "atlas_appendix")


class AdaptiveStep(Oracle):
    """The step divided by one plus the length of the gradient."""

    def write(self, cell: Cell, token: Token, gradient: Matrices) -> None:
        length = float(np.sqrt(sum(float((part**2).sum()) for part in gradient)))
        super().write(cell, token, [part / (1.0 + length) for part in gradient])


class NormClipped(Oracle):
    """M scaled back when it grows longer than 50."""

    def write(self, cell: Cell, token: Token, gradient: Matrices) -> None:
        super().write(cell, token, gradient)
        cell.weights = [m * min(1.0, 50.0 / (1e-300 + float(np.sqrt((m**2).sum())))) for m in cell.weights]


class StepTwice(Oracle):
    """The step size inside the gradient and once more outside."""

    def intake_and_release(self, token: Token) -> tuple[float, float]:
        intake, release = super().intake_and_release(token)
        return intake * token.step, release


class MomentumAveraged(Oracle):
    """Momentum as an average: 1 - theta on every gradient, with `literal` steps."""

    def intake_and_release(self, token: Token) -> tuple[float, float]:
        intake, release = super().intake_and_release(token)
        return (intake if self.mass else intake * (1.0 - self.decay(token))), release


class GradientAscends(Oracle):
    """The printed Eq. 11: minus where the value is written."""

    def pair_gradient(self, cell: Cell, key: Array, value: Array) -> Matrices:
        return super().pair_gradient(cell, key, -value)


class MeanOverValues(Oracle):
    """The loss as a mean over the entries of the value."""

    def pair_gradient(self, cell: Cell, key: Array, value: Array) -> Matrices:
        return [part / len(value) for part in super().pair_gradient(cell, key, value)]


class SignGradient(Oracle):
    """The gradient of the sum of absolute errors."""

    def pair_gradient(self, cell: Cell, key: Array, value: Array) -> Matrices:
        if self.architecture != "matrix":
            return super().pair_gradient(cell, key, value)
        return [np.sign(np.outer(cell.anchor[0] @ key - value, np.ones_like(key))) * key]


class OuterMatrixOnly(Oracle):
    """The first layer of the MLP memory is never written."""

    def pair_gradient(self, cell: Cell, key: Array, value: Array) -> Matrices:
        parts = super().pair_gradient(cell, key, value)
        return [*parts[:1], *(0.0 * part for part in parts[1:])]


class ResidualNotLearned(Oracle):
    """The error of the MLP memory without its residual."""

    def pair_gradient(self, cell: Cell, key: Array, value: Array) -> Matrices:
        missing = identity_part(key, len(value)) if self.architecture == "mlp" else 0.0
        return super().pair_gradient(cell, key, value + missing)


class NormMultipliedBack(Oracle):
    """The length of the momentum comes back after Newton-Schulz."""

    def update(self, momentum: Array) -> Array:
        length = float(np.sqrt((momentum**2).sum())) if self.rule in ORTHOGONALISED else 1.0
        return length * super().update(momentum)


class NormalisedOnly(Oracle):
    """The momentum divided by its length, and that is all."""

    def update(self, momentum: Array) -> Array:
        if self.rule not in ORTHOGONALISED:
            return momentum
        return np.asarray(momentum / (float(np.sqrt((momentum**2).sum())) + 1e-7))


class GradientOrthogonalised(Oracle):
    """Newton-Schulz first and momentum after it."""

    def write(self, cell: Cell, token: Token, gradient: Matrices) -> None:
        super().write(cell, token, [super(GradientOrthogonalised, self).update(part) for part in gradient])

    def update(self, momentum: Array) -> Array:
        return momentum
