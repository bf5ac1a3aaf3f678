"""Inner stability of the published models: what has an error is bounded, what only adds stays within the sum.

A quick part of what `benchmarks.stability_models` measures in full. Every test names the fault that was put into the
program by hand and that it caught.
"""

import pytest

from atlas_ref.config import load_config, model_names
from spec_tests.package.memory.stability_cells import CELLS
from spec_tests.package.memory.stability_models import Outcome, run_model
from spec_tests.sampling import marks_of

PLAIN = tuple(cell for cell in CELLS if cell.precision == "fp32")
TIME, SEED = 160, 5
ADDS = tuple(name for name in model_names() if load_config(name).model.memory.bias.kind == "dot")
"""The models that write whatever they are shown."""
QUICK = ("deltanet", "longhorn", "mesa", "yaad", "ttt-linear", "gla", "mamba2")


LARGEST = 12.0
"""Of a memory, over the larger of M_0 and a value; solving for nearly equal keys takes most of it."""


def outcome(name: str, *changes: str) -> Outcome:
    return run_model(
        load_config(name, [f"model.memory.{change}" for change in changes]).model.memory, PLAIN, TIME, SEED
    )


def names(models: tuple[str, ...]) -> list[object]:
    return [pytest.param(name, marks=marks_of(name in QUICK)) for name in models]


@pytest.mark.parametrize("name", names(tuple(name for name in model_names() if name not in ADDS)))
def test_hard_inputs_leave_a_model_with_an_error_bounded(name: str) -> None:
    """Kills: a gradient that is not divided by its curvature."""
    found = outcome(name)
    assert [" ".join(cell) for cell, good in zip(PLAIN, found.bounded.tolist(), strict=True) if not good] == []
    assert found.state.max() < LARGEST


@pytest.mark.parametrize("name", names(ADDS))
def test_a_model_without_an_error_holds_at_most_the_sum_of_what_it_was_shown(name: str) -> None:
    """Kills: a write that is made twice."""
    found = outcome(name)
    assert found.finite.all()
    assert found.growth.max() <= 1.0 + 1e-5


@pytest.mark.parametrize("name", ["yaad", "ttt-linear"])
def test_steps_as_printed_diverge_behind_a_norm(name: str) -> None:
    """So that the tests above can fail."""
    found = outcome(name, "step_scale='literal'")
    assert found.state.max() > LARGEST
