"""Faults of normalisation by mass."""

from typing import Final

import numpy as np

from spec_tests.chapters.memory_step.loop import Cell, Matrices, Oracle, Token, predict
from spec_tests.chapters.memory_step.wrong_turns import computed
from spec_tests.faults.fault import Fault, with_config
from spec_tests.port import Array, Op

STEP: Final = Op.MEMORY_STEP


class MassWithoutWindow(Oracle):
    def gamma(self, cell: Cell, token: Token, age: int) -> float:
        return float(token.gamma[age])


class MassWithoutFreshShare(Oracle):
    def intake_and_release(self, token: Token) -> tuple[float, float]:
        intake, release = super().intake_and_release(token)
        return (intake / (1.0 - self.decay(token)), release) if self.mass else (intake, release)


class MassWithoutHorizon(Oracle):
    def horizon(self) -> float:
        return 0.0


class DeltaWithHorizon(Oracle):
    def horizon(self) -> float:
        bound = float(self.config["momentum_max"])
        return bound / (1.0 - bound)


class MassWithoutCurvature(Oracle):
    def curvature(self, weights: Matrices, key: Array, value: Array) -> float:
        return 1.0


class CurvatureOfTheKeyAlone(Oracle):
    def curvature(self, weights: Matrices, key: Array, value: Array) -> float:
        return float(key @ key)


class CurvatureWithoutError(Oracle):
    """The Gauss-Newton part alone, which large errors of the MLP memory escape."""

    def curvature(self, weights: Matrices, key: Array, value: Array) -> float:
        return super().curvature(weights, key, predict(self.architecture, weights, key))


class MassOrthogonalisedAsPrinted(Oracle):
    """Newton-Schulz started at unit norm, however small the momentum is."""

    def update(self, momentum: Array) -> Array:
        return super().update(momentum / max(1e-30, float(np.linalg.norm(momentum))) * 1e9) if self.mass else momentum


class CurvatureNotBounded(Oracle):
    """Divides by kappa where it is below one too: small keys make large steps."""

    def pair_gradient(self, cell: Cell, key: Array, value: Array) -> Matrices:
        grow = 1.0 / min(1.0, self.curvature(cell.anchor, key, value)) if self.mass else 1.0
        return [grow * part for part in super().pair_gradient(cell, key, value)]


MASS: Final = "test_memory_mass:test_mass_is_literal_with_the_stated_substitutions"
SLOPE: Final = "test_memory_mass:test_mass_starts_newton_schulz_with_a_slope_of_one"
CURVATURE: Final = "test_memory_mass:test_mass_divides_each_gradient_by_its_curvature_where_that_exceeds_one"

LEFT_OUT = "misreading: `mass` normalisation left out in one place"

FAULTS: Final[tuple[Fault, ...]] = (
    Fault("rule-mass-without-window", "RULE-9", STEP, MASS, computed(MassWithoutWindow), LEFT_OUT),
    Fault("rule-mass-without-fresh-share", "RULE-9", STEP, MASS, computed(MassWithoutFreshShare), LEFT_OUT),
    Fault("rule-mass-without-horizon", "RULE-9", STEP, MASS, computed(MassWithoutHorizon), LEFT_OUT),
    Fault("rule-delta-with-horizon", "RULE-9", STEP, MASS, computed(DeltaWithHorizon), LEFT_OUT),
    Fault("rule-mass-without-curvature", "RULE-10", STEP, CURVATURE, computed(MassWithoutCurvature), LEFT_OUT),
    Fault("rule-curvature-of-the-key-alone", "RULE-10", STEP, CURVATURE, computed(CurvatureOfTheKeyAlone), LEFT_OUT),
    Fault("rule-curvature-without-error", "RULE-10", STEP, CURVATURE, computed(CurvatureWithoutError), LEFT_OUT),
    Fault(
        "rule-mass-orthogonalised-as-printed", "RULE-9", STEP, SLOPE, computed(MassOrthogonalisedAsPrinted), LEFT_OUT
    ),
    Fault("rule-curvature-not-bounded", "RULE-10", STEP, CURVATURE, computed(CurvatureNotBounded), LEFT_OUT),
    Fault(
        "rule-mass-taken-literally", "RULE-9", STEP, SLOPE, with_config(lambda _: {"step_scale": "literal"}), LEFT_OUT
    ),
)
