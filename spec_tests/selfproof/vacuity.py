"""Saboteurs: ports whose answers have the right form and no meaning. A test that passes one of them tests nothing.

Each saboteur is sound but for what it returns, in every operation at once. A test to which a saboteur does not apply
is named in `EXEMPT` with the reason: a port that always answers zero is, for example, deterministic. An exemption that
a test does not need is wrong too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pytest
from hypothesis.errors import FlakyFailure

from spec_tests.contract.operations import OPERATIONS
from spec_tests.port import PROFILES, Array, Declaration, Numerics, Op, Port, Scalar, UnsupportedError, round_to_bf16

Arrays = Mapping[str, Array]
Sabotage = Callable[[Arrays, Arrays, Arrays], Arrays]
"""From inputs, sound outputs and the outputs of the call before to what is answered."""


def zeros(_: Arrays, outputs: Arrays, __: Arrays) -> Arrays:
    """Answer zeros everywhere."""
    return {name: np.zeros_like(value) for name, value in outputs.items()}


def not_a_number(_: Arrays, outputs: Arrays, __: Arrays) -> Arrays:
    """Answer NaN wherever a float is expected."""
    return {name: value if value.dtype.kind == "i" else np.full_like(value, np.nan) for name, value in outputs.items()}


def identity(inputs: Arrays, outputs: Arrays, _: Arrays) -> Arrays:
    """Answer what was given: state unchanged, and for the rest an input of the same shape."""
    answer = {}
    for name, value in outputs.items():
        alike = [given for given in inputs.values() if given.shape == value.shape and given.dtype == value.dtype]
        same = inputs[name] if name in inputs and inputs[name].shape == value.shape else None
        answer[name] = same if same is not None else alike[0] if alike else np.zeros_like(value)
    return answer


def noise(inputs: Arrays, outputs: Arrays, _: Arrays) -> Arrays:
    """Answer random numbers of the right shape and type, the same for the same shape."""
    rng = np.random.Generator(np.random.Philox(key=len(inputs)))
    return {
        name: rng.integers(0, 50, value.shape) if value.dtype.kind == "i" else rng.standard_normal(value.shape)
        for name, value in outputs.items()
    }


def stale(_: Arrays, outputs: Arrays, before: Arrays) -> Arrays:
    """Answer what the call before was answered, where the shape allows."""
    return {
        name: before[name] if name in before and before[name].shape == value.shape else np.zeros_like(value)
        for name, value in outputs.items()
    }


def transposed(_: Arrays, outputs: Arrays, __: Arrays) -> Arrays:
    """Answer the right numbers in the layout of another language: the last axis slowest."""
    return {name: value.ravel(order="F").reshape(value.shape) for name, value in outputs.items()}


SABOTEURS: Final[Mapping[str, Sabotage]] = {
    "zeros": zeros,
    "nan": not_a_number,
    "identity": identity,
    "noise": noise,
    "stale": stale,
    "transposed": transposed,
}
UNSUPPORTED: Final = "unsupported"
"""The saboteur that declares everything and then refuses every case."""


@dataclass
class SabotagedPort:
    """A sound port whose answers are spoilt on their way out, in one precision."""

    port: Port
    saboteur: str
    numerics: Numerics

    def __post_init__(self) -> None:
        self._before: dict[str, Arrays] = {}
        self.spoilt = self.saboteur == UNSUPPORTED

    def declare(self) -> Declaration:
        """Declare what the sound port declares."""
        return Declaration(**{**vars(self.port.declare()), "name": self.saboteur, "numerics": (self.numerics,)})

    def run(
        self,
        op: str,
        config: Mapping[str, Scalar],
        inputs: Mapping[str, Array],
        *,
        numerics: Numerics,
        taps: frozenset[str],
    ) -> Mapping[str, Array]:
        """Run the operation and spoil the answer."""
        if self.saboteur == UNSUPPORTED:
            raise UnsupportedError("not today", capability=op)
        outputs = self.port.run(op, config, inputs, numerics=numerics, taps=taps)
        answer = SABOTEURS[self.saboteur](inputs, outputs, self._before.get(op, {}))
        self._before[op] = outputs
        formed = {name: _formed(op, name, answer[name], value, numerics) for name, value in outputs.items()}
        self.spoilt |= any(not np.array_equal(formed[name], value) for name, value in outputs.items())
        return formed


def _formed(op: str, name: str, value: Array, sound: Array, numerics: Numerics) -> Array:
    """Give an array the form of the sound one, so that a test fails it for what it says."""
    cast = np.array(value, dtype=sound.dtype, order="C")
    row = OPERATIONS[Op(op)]
    activation = not name.startswith("grad.") and row.role(name) == "activation"
    return round_to_bf16(cast) if activation and numerics is Numerics.BF16_IO else cast


COUNTS: Final = "counts the features and says nothing of their values, which other tests of the chapter hold"
A_VECTOR: Final = "reads numbers that have one layout only"
A_LAYOUT: Final = "compares two answers of one port, whose layout may be any if it is the same in both"
WHOLE: Final = "reads whole numbers, of which none can be NaN"
EXEMPT: Final[Mapping[tuple[str, str], str]] = {
    **{
        ("test_polynomial:test_the_number_of_features_is_that_of_the_basis", saboteur): COUNTS
        for saboteur in ("zeros", "identity", "noise", "stale", "transposed")
    },
    ("test_m3:test_the_mixing_ramps_by_crossings_and_then_follows_the_logit", "transposed"): A_VECTOR,
    ("test_m3:test_the_logit_learns_from_rows_past_the_warmup_only", "transposed"): A_VECTOR,
    ("test_bias:test_the_derivative_by_the_threshold_is_that_of_the_error_map", "transposed"): A_VECTOR,
    ("test_stablemax_loss:test_the_loss_of_a_row_is_the_mean_over_its_own_labels", "transposed"): A_VECTOR,
    ("test_stablemax_loss:test_ignored_places_may_hold_any_logits", "transposed"): A_VECTOR,
    ("test_stablemax_loss:test_a_row_without_labels_has_the_loss_zero", "transposed"): A_VECTOR,
    ("test_step:test_a_parameter_whose_gradient_is_zero_stays_as_it_is", "transposed"): A_VECTOR,
    ("test_episode:test_the_logarithm_is_taken_in_single_precision", "transposed"): A_VECTOR,
    ("test_gate_floor:test_the_risk_is_that_of_raw_gates", "transposed"): A_VECTOR,
    ("test_slot_memory:test_nothing_is_near_where_no_slot_is_in_use_and_to_a_zero_vector", "transposed"): A_VECTOR,
    ("test_halt:test_a_row_halts_at_the_first_step_that_is_sure_enough_or_at_the_last", "nan"): WHOLE,
    ("test_halt:test_a_higher_threshold_never_means_fewer_steps", "nan"): WHOLE,
    ("test_slot_memory:test_a_slot_counts_as_read_by_whom_it_weighs_most_and_by_whom_it_holds", "nan"): WHOLE,
    ("test_optimisers_in_sight:test_keys_that_nobody_sees_may_hold_anything", "transposed"): A_VECTOR,
    ("test_calls:test_the_same_call_gives_the_same_answer_whatever_came_between", "transposed"): A_LAYOUT,
    ("test_calls:test_gradients_do_not_change_the_outputs", "transposed"): A_LAYOUT,
}
"""Why a saboteur does not apply to a test, by test and saboteur."""


def accusations(test: str, call: Callable[[Port], None], sound: Port, numerics: Numerics) -> list[str]:
    """Return what is wrong with a test: it passes a saboteur, or is exempt from one that it fails, a line each."""
    found = []
    for saboteur in (*SABOTEURS, UNSUPPORTED):
        passes, exempt = vacuous(saboteur, call, sound, numerics), (test, saboteur) in EXEMPT
        if passes and not exempt:
            found.append(f"{test} passes the saboteur '{saboteur}'")
        if exempt and not passes:
            found.append(f"{test}: exempt from the saboteur '{saboteur}', and yet it fails it")
    return found


def vacuous(saboteur: str, call: Callable[[Port], None], sound: Port, numerics: Numerics) -> bool:
    """Whether a test lets a saboteur pass that changed some answer.

    A test that asks in another precision only is put to the saboteur in that; one that asks in none tests nothing.
    """
    for asked in (numerics, *PROFILES):
        port = SabotagedPort(sound, saboteur, asked)
        try:
            call(port)
        except pytest.skip.Exception:
            continue
        except (AssertionError, FlakyFailure):
            # A stale answer differs from call to call, which hypothesis takes for a failure of its own.
            return False
        return port.spoilt
    return True
