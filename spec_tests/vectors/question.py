"""One call of one operation, put to a port: the inputs in the types of a profile, the answer in comparable form."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from spec_tests.contract.driver import ask, prepare, widen
from spec_tests.contract.operations import OPERATIONS
from spec_tests.port import Array, Numerics, Op, Port, Scalar
from spec_tests.vectors.compare import TRACED, TRACES, comparable

SEQUENCES: Final[Mapping[Op, Op]] = {**TRACED, Op.MEMORY_GRAD: Op.MEMORY_SCAN}
"""The memory over a sequence: forms, and the recurrence that has the same inputs and outputs."""


@dataclass(frozen=True)
class Question:
    """An operation, its configuration and inputs; with cotangents, the gradients are asked for too.

    `traced`: where the operation passes through a state after every token, that is asked for too; a long call would
    fill megabytes with it.
    """

    op: Op
    config: Mapping[str, Scalar]
    inputs: Mapping[str, Array]
    cotangents: Mapping[str, Array]
    traced: bool = True

    @property
    def with_states(self) -> bool:
        """Whether the state after every token belongs to the answer."""
        return self.traced and self.op in TRACED

    def put(self, port: Port, numerics: Numerics) -> dict[str, Array]:
        """Return what is compared of the port's answer, every tap that it shows included.

        Raises FormError, PortError or UndeclaredError where there is no answer to compare.
        """
        given = prepare(self.op, numerics, self.inputs, self.config)
        asked = {f"cotangent.{name}": np.asarray(value, numerics.dtype) for name, value in self.cotangents.items()}
        taps = frozenset(tensor.name for tensor in OPERATIONS[self.op].taps if self.traced)
        return comparable(self.op, self.config, widen(ask(port, self.op, self.config, given | asked, numerics, taps)))

    def prefix(self, tokens: int) -> "Question":
        """Return the call that ends after so many tokens, without gradients."""
        row = OPERATIONS[self.op]
        timed = {tensor.name: tensor.axes.index("time") for tensor in row.inputs if "time" in tensor.axes}
        cut = {name: np.take(self.inputs[name], range(tokens), axis) for name, axis in timed.items()}
        return replace(self, inputs={**self.inputs, **cut}, cotangents={})


def replay(question: Question, port: Port, numerics: Numerics, tokens: int) -> dict[str, Array]:
    """Return the state of the memory after each of the first tokens, from as many calls, named as its taps are."""
    if tokens == 0:
        return {}
    answers = [question.prefix(t + 1).put(port, numerics) for t in range(tokens)]
    return {name: np.stack([answer[state] for answer in answers], 1) for name, state in TRACES.items()}
