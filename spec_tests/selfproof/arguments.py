"""What can be checked of an argument: the fault changes nothing in any stored question, or none can show it."""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from spec_tests.contract.outcome import FormError, PortError
from spec_tests.faults.fault import FaultyPort
from spec_tests.faults.generated.kind import Generated
from spec_tests.port import Numerics, Port
from spec_tests.vectors.case import load_cases
from spec_tests.vectors.question import Question


def changes_no_answer(fault: Generated, sound: Port) -> bool:
    """Whether every stored question gets the same answer in float64, to the last bit, or none at all."""
    faulty = FaultyPort(sound, fault, Numerics.F64)
    for case in load_cases(op=fault.op):
        question = Question(case.op, case.config, case.inputs, case.cotangents)
        try:
            answer = question.put(faulty, Numerics.F64)
        except (FormError, PortError):
            continue
        right = question.put(sound, Numerics.F64)
        if not all(np.array_equal(value, right[name], equal_nan=True) for name, value in answer.items()):
            return False
    return True


def no_derivative_is_asked(fault: Generated, _: Port) -> bool:
    """Whether no stored question of the operation has a cotangent."""
    return not any(case.cotangents for case in load_cases(op=fault.op))


def no_model_has_it(fault: Generated, sound: Port) -> bool:
    """Whether the model refuses each stored configuration with the fault's key at zero."""
    key = fault.id.rpartition("/")[2]
    for case in load_cases(op=fault.op):
        question = Question(case.op, {**case.config, key: type(case.config[key])(0)}, case.inputs, case.cotangents)
        try:
            question.put(sound, Numerics.F64)
        except PortError:
            continue
        return False
    return True


CHECKS: Final[Mapping[str, Callable[[Generated, Port], bool]]] = {
    "it changes no answer": changes_no_answer,
    "no derivative is asked": no_derivative_is_asked,
    "no model has it": no_model_has_it,
}
"""By the words that `argued.toml` uses."""
