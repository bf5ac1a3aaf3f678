"""Sudoku of six by six: every puzzle has one solution, which is the target, and symmetries leave that so."""

import numpy as np
import torch

from atlas_ref.config import load_config
from atlas_ref.data.batch import IGNORED, Batch
from atlas_ref.data.sudoku import BANK, IN_ORDER, SudokuTask, bank, places, solutions


def sudoku(*overrides: str) -> SudokuTask:
    config = load_config("sudoku", ["train.batch_size=40", *overrides])
    return SudokuTask(config.data, config.train)


def solved(batch: Batch) -> torch.Tensor:
    """Return the grids: what is given and, elsewhere, the targets."""
    given, targets = batch.tokens[:, :36], batch.targets[:, 36:]
    assert ((targets == IGNORED) == (given != 0)).all()
    return torch.where(given == 0, targets, given).view(-1, 6, 6)


def groups(grid: torch.Tensor) -> list[list[int]]:
    """Return what must hold each digit once, written out: lines, columns, and blocks of two lines by three columns."""
    blocks = [grid[r : r + 2, c : c + 3].flatten().tolist() for r in (0, 2, 4) for c in (0, 3)]
    return [*grid.tolist(), *grid.T.tolist(), *blocks]


def test_a_solution_holds_every_digit_once_in_each_line_column_and_block() -> None:
    """Kills: blocks of three lines by two columns; a symmetry that takes a line out of its band."""
    for grid in solved(sudoku().batch(3)):
        assert all(sorted(group) == [1, 2, 3, 4, 5, 6] for group in groups(grid))


def test_a_puzzle_has_one_solution_and_it_is_the_target() -> None:
    """Kills: cells taken out until there are two; digits renamed in the puzzle and not in its solution."""
    batch = sudoku().validation(1)
    for puzzle, grid in zip(batch.tokens[:8, :36].tolist(), solved(batch), strict=False):
        found = list(solutions(puzzle, IN_ORDER))
        assert len(found) == 1
        assert found[0].tolist() == grid.flatten().tolist()


def test_the_solver_finds_every_solution() -> None:
    """Kills: a solver that stops at the first, before which every puzzle has one solution."""
    grid = next(solutions([0] * 36, IN_ORDER)).reshape(6, 6)
    puzzle = grid.copy()
    puzzle[:2] = 0
    # Two lines of a band, of which each column keeps its two digits: they may change places all at once at least.
    found = {tuple(each.tolist()) for each in solutions(puzzle.flatten().tolist(), IN_ORDER)}
    swapped = grid.copy()
    swapped[[0, 1]] = grid[[1, 0]]
    assert {tuple(grid.flatten().tolist()), tuple(swapped.flatten().tolist())} <= found


def test_the_answer_stands_behind_the_whole_puzzle_and_nothing_of_it_in_front() -> None:
    """Kills: a solution among the tokens; targets at the cells of the puzzle."""
    batch = sudoku().batch(0)
    assert (batch.tokens[:, 36:] == 0).all()
    assert (batch.targets[:, :36] == IGNORED).all()
    blanks = (batch.tokens[:, :36] == 0).sum(1)
    assert blanks.max() <= 20
    assert blanks.float().mean() > 18


def test_symmetries_are_drawn_for_each_row_and_puzzles_from_a_bank_of_each_seed() -> None:
    """Kills: one symmetry for a batch; training puzzles that are validated on."""
    one, other = sudoku("train.seed=1"), sudoku("train.seed=2")
    assert torch.equal(one.validation(0).tokens, other.validation(0).tokens)
    assert not torch.equal(one.batch(0).tokens, other.batch(0).tokens)
    assert torch.equal(one.batch(4).tokens, sudoku("train.seed=1").batch(4).tokens)
    cells = places(np.random.default_rng(0), 50)
    assert len({tuple(row) for row in cells.tolist()}) > 45
    assert all(sorted(row) == list(range(36)) for row in cells.tolist())
    puzzles, grids = bank(0, 20, 0)
    assert len({tuple(puzzle) for puzzle in puzzles.tolist()}) == BANK == len(grids)
    assert not {tuple(grid) for grid in grids.tolist()} & {tuple(grid) for grid in bank(0, 20, 1)[1].tolist()}
