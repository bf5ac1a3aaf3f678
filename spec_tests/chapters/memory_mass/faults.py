"""Faults of normalisation by mass."""

from math import prod
from typing import Final

import numpy as np

from spec_tests.chapters.memory_grad.wrong_slopes import constant_curvature, slopes_with
from spec_tests.chapters.memory_step.loop import Cell, Matrices, Oracle, Token, gelu, predict
from spec_tests.chapters.memory_step.wrong_turns import computed
from spec_tests.chapters.newton_schulz.oracle import PUBLISHED, coefficients_of
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


class SlopeOfTheFirstStep(Oracle):
    """The first coefficient as often as there are steps, which is right for sets with one line."""

    def newton_schulz(self) -> tuple[str, int, float]:
        name, steps, offset = super().newton_schulz()
        return name, steps, coefficients_of(name, 0)[0] ** steps if self.mass else offset


class SlopeWithoutCushion(Oracle):
    """The coefficients as they are published, not as they are applied."""

    def newton_schulz(self) -> tuple[str, int, float]:
        name, steps, offset = super().newton_schulz()
        if not self.mass or name != "polar_express":
            return name, steps, offset
        return name, steps, prod(PUBLISHED[min(step, len(PUBLISHED) - 1)][0] for step in range(steps))


class CurvatureWithoutSlopes(Oracle):
    """The MLP without its inner matrix."""

    def curvature(self, weights: Matrices, key: Array, value: Array) -> float:
        if self.architecture == "matrix":
            return super().curvature(weights, key, value)
        hidden = gelu(weights[1] @ key)
        error = predict(self.architecture, weights, key) - value
        return float(hidden @ hidden + 1.13 * np.linalg.norm(key) * np.linalg.norm(error))


class CurvatureAtTheWeights(Oracle):
    """kappa of the memory as it is, where the gradient is of the anchor."""

    def error(self, cell: Cell, key: Array, value: Array) -> Array:
        self.now = cell.weights
        return super().error(cell, key, value)

    def curvature(self, weights: Matrices, key: Array, value: Array) -> float:
        return super().curvature(self.now, key, value)


class CurvatureWithTheLossScale(Oracle):
    def curvature(self, weights: Matrices, key: Array, value: Array) -> float:
        return 2.0 * float(self.config["loss_scale"]) * super().curvature(weights, key, value)


OTHER_SETS: Final = "test_memory_mass_beyond_the_usual:test_the_slope_is_one_for_every_set_and_number_of_steps"
LEARNED: Final = "test_memory_mass_beyond_the_usual:test_gradients_flow_through_the_curvature"
AT_ANCHOR: Final = "test_memory_mass_beyond_the_usual:test_the_curvature_is_that_of_the_anchor_at_any_loss_scale"

FAULTS: Final[tuple[Fault, ...]] = (
    Fault("rule-mass-without-window", "RULE-9a", STEP, MASS, computed(MassWithoutWindow), LEFT_OUT),
    Fault("rule-mass-without-fresh-share", "RULE-9b", STEP, MASS, computed(MassWithoutFreshShare), LEFT_OUT),
    Fault("rule-mass-without-horizon", "RULE-9c", STEP, MASS, computed(MassWithoutHorizon), LEFT_OUT),
    Fault("rule-delta-with-horizon", "RULE-9d", STEP, MASS, computed(DeltaWithHorizon), LEFT_OUT),
    Fault("rule-mass-without-curvature", "RULE-10a", STEP, CURVATURE, computed(MassWithoutCurvature), LEFT_OUT),
    Fault("rule-curvature-of-the-key-alone", "RULE-10b", STEP, CURVATURE, computed(CurvatureOfTheKeyAlone), LEFT_OUT),
    Fault("rule-curvature-without-error", "RULE-10d", STEP, CURVATURE, computed(CurvatureWithoutError), LEFT_OUT),
    Fault(
        "rule-mass-orthogonalised-as-printed", "RULE-9f", STEP, SLOPE, computed(MassOrthogonalisedAsPrinted), LEFT_OUT
    ),
    Fault("rule-curvature-not-bounded", "RULE-10", STEP, CURVATURE, computed(CurvatureNotBounded), LEFT_OUT),
    Fault(
        "rule-mass-taken-literally", "RULE-9f", STEP, SLOPE, with_config(lambda _: {"step_scale": "literal"}), LEFT_OUT
    ),
    Fault("rule-curvature-divides-always", "RULE-9e", STEP, CURVATURE, computed(CurvatureNotBounded), LEFT_OUT),
    Fault(
        "rule-slope-of-the-first-step",
        "RULE-9g",
        STEP,
        OTHER_SETS,
        computed(SlopeOfTheFirstStep),
        "misreading: which coefficients make the slope of Newton-Schulz",
    ),
    Fault(
        "rule-slope-without-cushion",
        "RULE-9g",
        STEP,
        OTHER_SETS,
        computed(SlopeWithoutCushion),
        "misreading: which coefficients make the slope of Newton-Schulz",
    ),
    Fault(
        "rule-curvature-detached",
        "RULE-9h",
        Op.MEMORY_GRAD,
        LEARNED,
        slopes_with("through_curvature", constant_curvature),
        "porting: a derivative that is missing, cut short or leaks",
    ),
    Fault("rule-curvature-without-slopes", "RULE-10c", STEP, CURVATURE, computed(CurvatureWithoutSlopes), LEFT_OUT),
    Fault("rule-curvature-at-the-weights", "RULE-10e", STEP, AT_ANCHOR, computed(CurvatureAtTheWeights), LEFT_OUT),
    Fault(
        "rule-curvature-with-the-loss-scale", "RULE-10f", STEP, AT_ANCHOR, computed(CurvatureWithTheLossScale), LEFT_OUT
    ),
)
