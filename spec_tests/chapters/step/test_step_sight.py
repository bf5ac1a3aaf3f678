"""docs/spec/step.md: what another document left may hold anything, infinities and NaN included."""

from typing import Final

import pytest

from spec_tests.chapters.step.calls import CONFIG, call
from spec_tests.chapters.step.operation import STATES
from spec_tests.contract.by_loops import assert_answers
from spec_tests.contract.driver import assert_close, precisions, run
from spec_tests.contract.properties import representable
from spec_tests.contract.sight import BEFORE, GARBAGE, spoilt
from spec_tests.port import Op, Port, Scalar
from spec_tests.tally import where_declared

STEPS: Final = Op.TRAIN_STEPS
DESCENT: Final[dict[str, Scalar]] = {**CONFIG, "optimizer": "sgd"}


@pytest.mark.spec("STEP-5")
def test_a_step_sees_nothing_of_another_document(port: Port) -> None:
    inputs = representable(STEPS, call(35, steps=1, time=2, positions=tuple(BEFORE[:2].tolist()), window=3, kernel=3))
    inputs["reset"][:] = 0
    for numerics in precisions(port):
        with where_declared():
            plain = run(port, STEPS, numerics, inputs, **DESCENT)
            assert_answers(plain, DESCENT)
            for garbage in GARBAGE:
                changed = spoilt(STEPS, inputs, garbage, sequences=False)
                states = {tensor.name: changed[tensor.name] for tensor in STATES}
                among = run(port, STEPS, numerics, {**inputs, **states}, **DESCENT)
                for name, value in plain.outputs.items():
                    same = plain.tolerance(name)
                    assert_close(among[name], value, same, f"{name} with {garbage} out of sight in {numerics}")
