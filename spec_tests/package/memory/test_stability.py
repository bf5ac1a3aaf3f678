"""Inner stability: no hard input makes a `mass` memory diverge, and many make a `literal` one.

A quick part of the grid that `benchmarks.stability` measures in full.
"""

import pytest

from atlas_ref.memory.rules import ORTHOGONALISED, ArchitectureName, RuleName
from spec_tests.package.memory.stability_cells import CELLS, Findings, hard_inputs, make_rule, run_cells
from spec_tests.sampling import crossed

SHAPES: dict[RuleName, tuple[int, int]] = {
    "titans": (16, 4),
    "omega": (64, 16),
    "delta": (1, 1),
    "atlas": (16, 4),
    "atlas_appendix": (64, 1),
}
"""Chunk length and window of each rule here."""
SEED = 5
every_memory = pytest.mark.parametrize(("rule", "architecture"), crossed(SHAPES, ("matrix", "mlp")))


def findings(rule: RuleName, architecture: ArchitectureName, *, mass: bool) -> Findings:
    chunk, window = SHAPES[rule]
    # Newton-Schulz takes a matrix for each token.
    inputs = hard_inputs(CELLS, architecture, 192 if rule in ORTHOGONALISED else 384, window, SEED)
    return run_cells(make_rule(rule, architecture, "mass" if mass else "literal", chunk), inputs, SEED)


@every_memory
def test_hard_inputs_leave_states_and_gradients_bounded(rule: RuleName, architecture: ArchitectureName) -> None:
    """Extreme gates, repeated, nearly equal and long keys, rounded inputs.

    Kills: a step that is not divided by the chunk; a window that is not divided by its length; a momentum that is a sum
    instead of an average; a gradient that is not divided by its curvature, or by one that leaves the error out;
    Newton-Schulz as printed, whose slope is one over the norm of what it is given.
    """
    found = findings(rule, architecture, mass=True)

    assert [" ".join(cell) for cell, good in zip(CELLS, found.bounded.tolist(), strict=True) if not good] == []
    assert found.finite.all()
    assert found.state.max() < 10.0
    assert found.gradient.max() < 300.0


@every_memory
def test_the_same_inputs_make_the_printed_rule_diverge(rule: RuleName, architecture: ArchitectureName) -> None:
    """So that the test above can fail: with all gates open, in every rule and memory."""
    found = findings(rule, architecture, mass=False)
    diverged = {cell.gates for cell, good in zip(CELLS, found.bounded.tolist(), strict=True) if not good}

    assert {"ceiling", "bursts"} <= diverged
    assert "floor" not in diverged
