"""Faults of the write rules: signs, places of the step size, momentum, gradients, mass normalisation, Newton-Schulz."""

from typing import Final

import numpy as np

from spec_tests.faults.fault import Fault, with_config, with_inputs
from spec_tests.faults.memory import computed
from spec_tests.oracle.memory import Cell, Matrices, Oracle, Token, gelu_slope, predict
from spec_tests.oracle.newton_schulz import coefficients_of
from spec_tests.port import Array, Op

STEP, SCAN = Op.MEMORY_STEP, Op.MEMORY_SCAN


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


class Nesterov(Oracle):
    """Writes one more gradient step than the momentum holds."""

    def write(self, cell: Cell, token: Token, gradient: Matrices) -> None:
        super().write(cell, token, gradient)
        if self.rule == "titans":
            intake = self.intake_and_release(token)[0]
            cell.weights = [m + 0.5 * intake * g for m, g in zip(cell.weights, gradient, strict=True)]


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


TABLE: Final = "test_memory_step:test_titans_omega_and_delta_write_as_the_table_says"
ATLAS: Final = "test_memory_step:test_atlas_orthogonalises_the_momentum_and_scales_it_by_the_step"
APPENDIX: Final = "test_memory_step:test_atlas_appendix_has_the_step_inside_where_a_common_factor_cancels"
DELTA: Final = "test_memory_step:test_delta_ignores_the_momentum_gate"
DESCENT: Final = "test_memory_step:test_the_first_write_descends"
LOSS: Final = "test_memory_step:test_the_gradient_is_that_of_the_loss_in_every_matrix"
RECALL: Final = "test_memory_step:test_orthonormal_keys_are_recalled_exactly"
CONSTANT: Final = "test_memory_scan:test_titans_and_omega_agree_under_a_constant_step_size"
MASS: Final = "test_memory_mass:test_mass_is_literal_with_the_stated_substitutions"
SLOPE: Final = "test_memory_mass:test_mass_starts_newton_schulz_with_a_slope_of_one"
CURVATURE: Final = "test_memory_mass:test_mass_divides_each_gradient_by_its_curvature_where_that_exceeds_one"
EACH: Final = "test_memory_step:test_newton_schulz_acts_on_each_matrix_by_itself_and_keeps_zero"

MEMORY_RULES = (
    Fault("rule-ascent", "RULE-1", STEP, TABLE, computed(Ascent)),
    Fault("rule-retention-after-write", "RULE-1", STEP, TABLE, computed(RetentionAfterWrite)),
    Fault("rule-momentum-decay-late", "RULE-1", STEP, TABLE, computed(MomentumDecayLate)),
    Fault("rule-momentum-undecayed", "RULE-1", STEP, TABLE, computed(MomentumUndecayed)),
    Fault(
        "rule-retention-inverted",
        "RULE-1",
        STEP,
        TABLE,
        with_inputs(lambda _, inputs: {"retention": 1.0 - inputs["retention"]}),
    ),
    Fault("rule-atlas-step-inside", "RULE-2", STEP, ATLAS, computed(StepInsideNewtonSchulz)),
    Fault("rule-atlas-wrong-polynomial", "RULE-2", STEP, ATLAS, computed(WrongPolynomial)),
    Fault("rule-atlas-not-orthogonalised", "RULE-2", STEP, ATLAS, with_config(lambda _: {"rule": "omega"})),
    Fault("rule-appendix-step-outside", "RULE-3", STEP, APPENDIX, with_config(lambda _: {"rule": "atlas"})),
    Fault("rule-delta-with-momentum", "RULE-4", STEP, DELTA, computed(DeltaWithMomentum)),
    Fault("rule-first-write-climbs", "RULE-5", STEP, DESCENT, computed(Ascent)),
    Fault("rule-loss-scale-ignored", "RULE-6", STEP, LOSS, computed(LossScaleIgnored)),
    Fault("rule-inner-slope-missing", "RULE-6", STEP, LOSS, computed(InnerSlopeMissing)),
    Fault("rule-hebbian", "RULE-6", STEP, LOSS, computed(Hebbian)),
    Fault("rule-gradient-doubled", "RULE-7", STEP, RECALL, computed(GradientDoubled)),
    Fault("rule-titans-nesterov", "RULE-8", SCAN, CONSTANT, computed(Nesterov)),
    Fault("rule-mass-without-window", "RULE-9", STEP, MASS, computed(MassWithoutWindow)),
    Fault("rule-mass-without-fresh-share", "RULE-9", STEP, MASS, computed(MassWithoutFreshShare)),
    Fault("rule-mass-without-horizon", "RULE-9", STEP, MASS, computed(MassWithoutHorizon)),
    Fault("rule-delta-with-horizon", "RULE-9", STEP, MASS, computed(DeltaWithHorizon)),
    Fault("rule-mass-without-curvature", "RULE-10", STEP, CURVATURE, computed(MassWithoutCurvature)),
    Fault("rule-curvature-of-the-key-alone", "RULE-10", STEP, CURVATURE, computed(CurvatureOfTheKeyAlone)),
    Fault("rule-curvature-without-error", "RULE-10", STEP, CURVATURE, computed(CurvatureWithoutError)),
    Fault("rule-mass-orthogonalised-as-printed", "RULE-9", STEP, SLOPE, computed(MassOrthogonalisedAsPrinted)),
    Fault("rule-curvature-not-bounded", "RULE-10", STEP, CURVATURE, computed(CurvatureNotBounded)),
    Fault("rule-tall-matrices-left-alone", "RULE-11", STEP, EACH, computed(TallLeftAlone)),
    Fault("rule-one-norm-for-all-matrices", "RULE-11", STEP, EACH, computed(OneNorm)),
)
