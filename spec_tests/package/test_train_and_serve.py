"""The table of chunks trained in and served in: what it asks, and that a cell that diverged says so and no more."""

import math

import pytest

from benchmarks.train_and_serve import FOLLOWING, KEPT, UNIFORM, Cell, cells, markdown, stage


def test_every_cell_is_asked_once_and_a_second_stage_is_finer_than_its_first() -> None:
    found = cells()
    assert len(found) == len(set(found)) == 16
    assert {(cell.trained, cell.served) for cell in found if cell.steps == KEPT} == {
        (trained, served) for trained in (8, 64) for served in (1, 8, 64)
    }
    assert not any(cell.trained == cell.served for cell in found if cell.steps == FOLLOWING)
    assert Cell(64, 8, stage(8)) in found
    assert not any(cell.steps == stage(8) for cell in found if cell.trained == 8)


@pytest.mark.parametrize("lost", [math.nan, math.inf, UNIFORM + 1e-3])
def test_a_cell_that_diverged_has_no_mean(lost: float) -> None:
    """Kills: NaN that compares as small; a mean over what has none; a mean of differences that is no difference."""
    losses = {cell: [2.0, 2.5] for cell in cells()}
    losses[Cell(64, 1, FOLLOWING)] = [2.0, lost]
    losses[Cell(64, 1, KEPT)] = [2.25, 2.5]
    lines = markdown(losses).splitlines()
    assert "| 64 | 1 | of the served | diverged in 1 of 2 |  |  |  |" in lines
    assert "| 64 | 1 | as trained | 2.3750 | 2.2500 | 2.5000 | +0.1250 |" in lines
    assert "| 8 | 8 | as trained | 2.2500 | 2.0000 | 2.5000 | +0.0000 |" in lines
