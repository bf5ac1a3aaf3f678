"""More faults of the write rules: what source systems did, and what careful readers of the papers misread."""

import numpy as np

from spec_tests.faults.fault import Arrays, Config, Fault, with_config, with_inputs
from spec_tests.faults.memory import GELU, ORDER, VALUE, computed
from spec_tests.faults.memory_rules import APPENDIX, ATLAS, LOSS, SLOPE, STEP, TABLE
from spec_tests.oracle.memory import Cell, Inputs, Matrices, Oracle, Token, gelu, identity_part, pack
from spec_tests.port import Array

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


class ByColumns(Oracle):
    """Matrices packed column by column."""

    def matrices(self, packed: Array, inputs: Inputs) -> Matrices:
        return [m.ravel().reshape(m.shape, order="F") for m in super().matrices(packed, inputs)]

    def store(self, cell: Cell, outputs: dict[str, Array], row: int, head: int) -> None:
        super().store(cell, outputs, row, head)
        for name, matrices in (("weights", cell.weights), ("momentum", cell.momentum), ("anchor", cell.anchor)):
            outputs[name][row, head] = np.concatenate([matrix.ravel(order="F") for matrix in matrices])


class InnerMatrixFirst(Oracle):
    """W2 packed before W1."""

    def store(self, cell: Cell, outputs: dict[str, Array], row: int, head: int) -> None:
        super().store(cell, outputs, row, head)
        outputs["weights"][row, head] = pack(cell.weights[::-1])


class ResidualInMatrix(Oracle):
    """A residual for the matrix memory too."""

    def read(self, cell: Cell, token: Token) -> Array:
        extra = identity_part(token.query, len(cell.weights[0])) if self.architecture == "matrix" else 0.0
        return np.asarray(super().read(cell, token) + extra)


class SiluForGelu(Oracle):
    def read(self, cell: Cell, token: Token) -> Array:
        if self.architecture == "matrix":
            return super().read(cell, token)
        z = cell.weights[1] @ token.query
        return np.asarray(super().read(cell, token) + cell.weights[0] @ (z / (1.0 + np.exp(-z)) - gelu(z)))


class LogisticGelu(Oracle):
    """gelu as z sigmoid(1.702 z)."""

    def read(self, cell: Cell, token: Token) -> Array:
        if self.architecture == "matrix":
            return super().read(cell, token)
        z = cell.weights[1] @ token.query
        return np.asarray(super().read(cell, token) + cell.weights[0] @ (z / (1.0 + np.exp(-1.702 * z)) - gelu(z)))


class ReadStandardised(Oracle):
    """A normalisation over the entries of the read, inside the memory."""

    def read(self, cell: Cell, token: Token) -> Array:
        y = super().read(cell, token)
        return np.asarray((y - y.mean()) / np.sqrt(y.var() + 1e-5))


class QueryNormalised(Oracle):
    """The query is normalised again inside the memory."""

    def read(self, cell: Cell, token: Token) -> Array:
        length = float(np.sqrt((token.query**2).sum())) + 1e-30
        return super().read(cell, Token(**{**vars(token), "query": token.query / length}))


class AnchorRead(Oracle):
    """Reads the memory at the start of the chunk."""

    def read(self, cell: Cell, token: Token) -> Array:
        return super().read(Cell(cell.anchor, cell.momentum, cell.anchor, cell.window, cell.position), token)


def _unit_keys(_: Config, inputs: Arrays) -> Arrays:
    length = np.sqrt((inputs["keys"] ** 2).sum(-1, keepdims=True))
    return {"keys": inputs["keys"] / np.where(length > 0, length, 1.0)}


def _silu_values(_: Config, inputs: Arrays) -> Arrays:
    return {"values": inputs["values"] / (1.0 + np.exp(-np.clip(inputs["values"], -60.0, 60.0)))}


def _never_forgets(_: Config, inputs: Arrays) -> Arrays:
    return {"retention": np.ones_like(inputs["retention"])}


MEMORY_SOURCES = (
    Fault("rule-adaptive-step", "RULE-1", STEP, TABLE, computed(AdaptiveStep)),
    Fault("rule-state-clipped", "RULE-1", STEP, TABLE, computed(NormClipped)),
    Fault("rule-step-size-twice", "RULE-1", STEP, TABLE, computed(StepTwice)),
    Fault("rule-momentum-averaged", "RULE-1", STEP, TABLE, computed(MomentumAveraged)),
    Fault("rule-retention-dropped", "RULE-1", STEP, TABLE, with_inputs(_never_forgets)),
    Fault("rule-keys-normalised-again", "RULE-1", STEP, TABLE, with_inputs(_unit_keys)),
    Fault("rule-values-through-silu", "RULE-1", STEP, TABLE, with_inputs(_silu_values)),
    Fault("rule-value-with-the-wrong-sign", "RULE-6", STEP, LOSS, computed(GradientAscends)),
    Fault("rule-mean-over-values", "RULE-6", STEP, LOSS, computed(MeanOverValues)),
    Fault("rule-absolute-error", "RULE-6", STEP, LOSS, computed(SignGradient)),
    Fault("rule-outer-matrix-only", "RULE-6", STEP, LOSS, computed(OuterMatrixOnly)),
    Fault("rule-residual-not-learned", "RULE-6", STEP, LOSS, computed(ResidualNotLearned)),
    Fault("rule-atlas-norm-multiplied-back", "RULE-2", STEP, ATLAS, computed(NormMultipliedBack)),
    Fault("rule-atlas-normalised-only", "RULE-2", STEP, ATLAS, computed(NormalisedOnly)),
    Fault("rule-atlas-orthogonalised-before-momentum", "RULE-2", STEP, ATLAS, computed(GradientOrthogonalised)),
    Fault("rule-atlas-five-steps-always", "RULE-2", STEP, ATLAS, with_config(lambda _: {"newton_schulz_steps": 5})),
    Fault("rule-atlas-one-set-for-all", "RULE-2", STEP, ATLAS, with_config(lambda _: {"coefficients": "quintic"})),
    Fault("rule-appendix-not-orthogonalised", "RULE-3", STEP, APPENDIX, with_config(lambda _: {"rule": "titans"})),
    Fault("rule-mass-taken-literally", "RULE-9", STEP, SLOPE, with_config(lambda _: {"step_scale": "literal"})),
    Fault("mem-packed-by-columns", "MEM-3", STEP, VALUE, computed(ByColumns)),
    Fault("mem-inner-matrix-first", "MEM-3", STEP, VALUE, computed(InnerMatrixFirst)),
    Fault("mem-residual-in-the-matrix", "MEM-3", STEP, VALUE, computed(ResidualInMatrix)),
    Fault("mem-silu-for-gelu", "MEM-3", STEP, VALUE, computed(SiluForGelu)),
    Fault("mem-gelu-by-the-logistic", "MEM-3", STEP, GELU, computed(LogisticGelu)),
    Fault("mem-read-standardised", "MEM-3", STEP, VALUE, computed(ReadStandardised)),
    Fault("mem-query-normalised-again", "MEM-3", STEP, VALUE, computed(QueryNormalised)),
    Fault("mem-reads-the-anchor", "MEM-1", STEP, ORDER, computed(AnchorRead)),
)
