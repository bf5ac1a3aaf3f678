"""Faults of ridge regression."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.chapters.ridge_scan.oracle import Ridge
from spec_tests.faults.fault import (
    Arrays,
    Config,
    Fault,
    Wrap,
    averaged,
    forgotten,
    gradients_lost,
    in_form,
    multiplied,
    with_outputs,
)
from spec_tests.port import Array, Numerics, Op, Run

RIDGE: Final = Op.RIDGE_SCAN
FIT: Final = "test_ridge_scan:test_a_read_is_that_of_the_regression_over_all_pairs_so_far"
LOOP: Final = "test_ridge_scan:test_reads_and_sums_are_those_of_the_loop"
RESET: Final = "test_ridge_scan:test_a_reset_equals_a_fresh_start"
SPLIT: Final = "test_ridge_scan:test_any_split_into_calls_agrees_and_an_empty_call_returns_its_state"
ROWS: Final = "test_ridge_scan:test_rows_are_independent_and_no_read_depends_on_a_later_token"
SLOPES: Final = "test_ridge_scan:test_derivatives_are_those_of_the_solution"

SQUARES: Final = "misreading: recursive least squares for ridge regression"
NOT_HANDED_ON: Final = "porting: state that is not handed on, or only that of one call"
DERIVATIVE: Final = "porting: a derivative that is missing, cut short or leaks"
RESETS: Final = "source: resets that nothing calls"


class RidgeDecays(Ridge):
    """The ridge stands in the sum at the start of a document and decays with it: recursive least squares."""

    def run(self, x: Arrays) -> dict[str, Array]:
        self.left = 1.0
        return super().run(x)

    def written(
        self, cross: Array, gram: Array, key: Array, value: Array, retention: float, step: float
    ) -> tuple[Array, Array]:
        self.left *= retention
        return super().written(cross, gram, key, value, retention, step)

    def read(self, cross: Array, gram: Array, ridge: Array, query: Array) -> Array:
        return super().read(cross, gram, self.left * ridge, query)


class ReadsBefore(Ridge):
    """Reads what the token found."""

    def written(
        self, cross: Array, gram: Array, key: Array, value: Array, retention: float, step: float
    ) -> tuple[Array, Array]:
        self.found = cross, gram
        return super().written(cross, gram, key, value, retention, step)

    def read(self, cross: Array, gram: Array, ridge: Array, query: Array) -> Array:
        return super().read(*self.found, ridge, query)


class GramUndecayed(Ridge):
    """Keys are counted for ever, values decay."""

    def written(
        self, cross: Array, gram: Array, key: Array, value: Array, retention: float, step: float
    ) -> tuple[Array, Array]:
        left = super().written(cross, gram, key, value, retention, step)[0]
        return left, np.asarray(gram + step * key[:, None] * key[None, :])


class KeepsGram(Ridge):
    """A reset that forgets the keys' sum."""

    def begun(self, cross: Array, gram: Array) -> tuple[Array, Array, int]:
        return np.zeros_like(cross), gram, 0


class FreshRowTrusted(Ridge):
    """Only a mark begins a document."""

    def run(self, x: Arrays) -> dict[str, Array]:
        outputs = super().run({**x, "position": np.maximum(x["position"], 1)})
        count = np.where((x["reset"] != 0).any(axis=1), outputs["position"], x["position"] + x["reset"].shape[1])
        return {**outputs, "position": count}


class LastRead(Ridge):
    """Reads every token from the sums after the call."""

    def run(self, x: Arrays) -> dict[str, Array]:
        outputs = super().run(x)
        for row, t, head in np.ndindex(outputs["reads"].shape[:3]):
            sums = outputs["cross"][row, head], outputs["gram"][row, head]
            outputs["reads"][row, t, head] = self.read(*sums, x["ridge"][head], x["queries"][row, t, head])
        return outputs


def computed(loop: type[Ridge]) -> Wrap:
    """Build a fault that answers with a faulty loop; gradients, where asked for, stay those of the sound run."""

    def wrap(run: Run) -> Run:
        def faulty(op: str, config: Config, inputs: Arrays, *, numerics: Numerics, taps: frozenset[str]) -> Arrays:
            wide = {name: v.astype(np.float64) if v.dtype.kind == "f" else v for name, v in inputs.items()}
            asked = any(name.startswith("cotangent.") for name in inputs)
            sound: Mapping[str, Array] = run(op, config, inputs, numerics=numerics, taps=taps) if asked else {}
            with np.errstate(invalid="ignore"):
                return {**sound, **in_form(op, loop().run(wide), numerics)}

        return faulty

    return wrap


def _of_one_half(_: Config, __: Arrays, outputs: Arrays) -> Arrays:
    """Give the derivative of a factorisation of the lower half to the lower half alone."""
    return {name: np.tril(value) for name, value in outputs.items() if name == "grad.gram"}


LONG: Final = "test_ridge_scan_long:test_a_call_of_many_blocks_is_that_of_the_loops"


def _as_given(_: Config, inputs: Arrays, outputs: Arrays) -> Arrays:
    """Hand the values' sum back as it came."""
    return {"cross": inputs["cross"]}


FAULTS: Final[tuple[Fault, ...]] = (
    Fault(
        "ridge-reads-before-the-write",
        "RULE-14a",
        RIDGE,
        FIT,
        computed(ReadsBefore),
        "misreading: reads before or after the write",
    ),
    Fault("ridge-keys-undecayed", "RULE-14b", RIDGE, FIT, computed(GramUndecayed), SQUARES),
    Fault("ridge-decays", "RULE-14c", RIDGE, FIT, computed(RidgeDecays), SQUARES),
    Fault("ridge-decays-in-the-loop", "RULE-14c", RIDGE, LOOP, computed(RidgeDecays), SQUARES),
    Fault("ridge-reset-keeps-keys", "RULE-22a", RIDGE, RESET, computed(KeepsGram), RESETS),
    Fault("ridge-fresh-row-trusted", "RULE-22b", RIDGE, RESET, computed(FreshRowTrusted), RESETS),
    Fault("ridge-sum-dropped-between-calls", "RULE-23a", RIDGE, SPLIT, forgotten("gram"), NOT_HANDED_ON),
    Fault(
        "ridge-sum-averaged",
        "RULE-23b",
        RIDGE,
        ROWS,
        averaged("cross"),
        "source: state kept as the mean over the batch",
    ),
    Fault(
        "ridge-last-sums-read",
        "RULE-23c",
        RIDGE,
        ROWS,
        computed(LastRead),
        "source: a sequence is written whole and read with the last state: the future leaks",
    ),
    Fault("ridge-keys-not-learned", "RULE-24a", RIDGE, SLOPES, gradients_lost("keys"), DERIVATIVE),
    Fault("ridge-not-learned", "RULE-24b", RIDGE, SLOPES, gradients_lost("ridge"), DERIVATIVE),
    Fault("ridge-slope-of-one-half", "RULE-24c", RIDGE, SLOPES, with_outputs(_of_one_half), DERIVATIVE),
    Fault("ridge-sum-handed-back", "RULE-23a", RIDGE, LONG, with_outputs(_as_given), NOT_HANDED_ON),
    *multiplied("ridge", RIDGE, "RULE-22a", "test_ridge_scan_sight", "cross", "gram"),
)
