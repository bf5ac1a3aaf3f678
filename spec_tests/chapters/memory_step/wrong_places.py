"""Turns with something right in the wrong place: the anchor, the step size, the momentum, Newton-Schulz."""

import numpy as np

from spec_tests.chapters.memory_step.loop import Cell, Matrices, Oracle, Token, identity_part
from spec_tests.port import Array


class AnchoredAfterTheWrite(Oracle):
    """Moves xi when the first token of a chunk has been written."""

    def enter(self, cell: Cell, token: Token, initial: Matrices) -> None:
        before = cell.anchor
        begins = self.begins(cell, token)
        super().enter(cell, token, initial)
        cell.anchor = cell.anchor if begins else before

    def write(self, cell: Cell, token: Token, gradient: Matrices) -> None:
        super().write(cell, token, gradient)
        if self.phase(cell) == 0:
            cell.anchor = [matrix.copy() for matrix in cell.weights]


class IdentityRepeats(Oracle):
    """Fills the residual of a short vector with its entries again, not with zeros."""

    def read(self, cell: Cell, token: Token) -> Array:
        right = super().read(cell, token)
        if self.architecture == "matrix":
            return right
        return np.asarray(right - identity_part(token.query, len(right)) + np.resize(token.query, len(right)))


class TitansStepOutside(Oracle):
    """The momentum holds plain gradients; the write multiplies them by today's step size."""

    def intake_and_release(self, token: Token) -> tuple[float, float]:
        intake, release = super().intake_and_release(token)
        return (1.0, intake) if self.rule == "titans" else (intake, release)


class OmegaStepInside(Oracle):
    """The momentum holds steps, each of the size of its own token."""

    def intake_and_release(self, token: Token) -> tuple[float, float]:
        intake, release = super().intake_and_release(token)
        return (release, 1.0) if self.rule == "omega" else (intake, release)


class OmegaWithoutMomentum(Oracle):
    """The rule as Eq. 9-10 print it."""

    def decay(self, token: Token) -> float:
        return 0.0 if self.rule == "omega" else super().decay(token)


class WideLeftAlone(Oracle):
    """A wide matrix is normalised only."""

    def update(self, momentum: Array) -> Array:
        if momentum.shape[0] >= momentum.shape[1] or self.rule not in ("atlas", "atlas_appendix"):
            return super().update(momentum)
        return np.asarray(momentum / (np.sqrt((momentum**2).sum()) + 1e-7))


class ZeroDivides(Oracle):
    """A momentum of zero is divided by its norm."""

    def update(self, momentum: Array) -> Array:
        return super().update(momentum) if momentum.any() else np.full_like(momentum, np.nan)
