"""What torch.optim says of training steps: AdamW is green but for its clipping, Muon is not what it would be exactly.

Torch divides by the norm plus 1e-6 where STEP-2 divides by the norm, and its Muon orthogonalises in bfloat16.
"""

from typing import Final

import numpy as np
import pytest

from spec_tests.chapters.step.calls import CONFIG, call
from spec_tests.chapters.step.oracle import train_steps
from spec_tests.oracle.sums import FORWARD
from spec_tests.port import Array, Numerics, Op, Scalar
from spec_tests.ports.torch_steps import TorchSteps
from spec_tests.vectors.case import absent, load_cases
from spec_tests.vectors.judge import judge

RATE: Final = float(CONFIG["learning_rate"])


def gaps(optimizer: str, clip: float, steps: int) -> dict[str, float]:
    """Return the largest differences to the loops in float64, in parameters and moments."""
    config: dict[str, Scalar] = {**CONFIG, "optimizer": optimizer, "clip": clip}
    x: dict[str, Array] = call(8111, steps=steps)
    found = TorchSteps().run(Op.TRAIN_STEPS, config, x, numerics=Numerics.F64, taps=frozenset())
    expected = train_steps(config, x, FORWARD)
    return {name: float(np.abs(found[name] - expected[name]).max()) for name in ("parameters", "mean", "square")}


def test_adamw_of_torch_is_that_of_the_text_where_nothing_is_clipped() -> None:
    assert all(gap < 1e-12 for gap in gaps("adamw", 0.0, 4).values())


def test_clipping_of_torch_adds_a_millionth_to_the_norm() -> None:
    found = gaps("adamw", 1.0, 4)
    assert 1e-9 < found["mean"] < 1e-6
    assert 1e-10 < found["parameters"] < 1e-5 * RATE


def test_muon_of_torch_is_off_by_what_bfloat16_leaves_of_a_direction() -> None:
    found = gaps("muon", 1.0, 1)
    # The buffer is a sum of gradients, which nothing has rounded; the direction is one of bfloat16.
    assert found["mean"] < 1e-6
    assert 1e-3 < found["parameters"] / float(CONFIG["muon_learning_rate"]) < 1.0


@pytest.mark.parametrize(("optimizer", "green"), [("adamw", {Numerics.F32, Numerics.BF16_IO}), ("muon", set())])
def test_stored_steps_are_passed_in_single_precision_by_adamw_and_never_by_muon(
    optimizer: str, green: set[Numerics]
) -> None:
    port = TorchSteps()
    found: dict[Numerics, list[bool]] = {}
    for case in load_cases(op=Op.TRAIN_STEPS):
        for numerics in case.numerics:
            if case.config["optimizer"] == optimizer and absent(port.declare(), case, numerics) is None:
                found.setdefault(numerics, []).append(judge(port, case, numerics).divergence is None)
    assert {numerics for numerics, passed in found.items() if all(passed)} == green
    assert set(found) == {Numerics.F64, Numerics.F32, Numerics.BF16_IO}
