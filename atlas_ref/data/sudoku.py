"""Sudoku of six by six with blocks of two by three, as rows that a causal model can read.

    tokens    p_0 .. p_35  0 .. 0          digits 1 to 6 of the puzzle, 0 where it is blank, then 36 blanks
    targets   none         s_0 .. s_35     the digit of each cell that was blank; cells that were given are not scored

A place of the solution comes behind the whole puzzle, so causal attention shows it every given digit. Each puzzle has
one solution (`solutions` counts them). There are 28,200,960 grids, too many to remember. A row is a puzzle of a small
bank, which each seed makes anew, under a random one of its symmetries: digits renamed, bands, stacks, rows and columns
changed places; these keep the number of solutions. Training and validation have banks of their own.
"""

from collections.abc import Iterator
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from atlas_ref.config import DataConfig, TrainConfig
from atlas_ref.config.data import SUDOKU_CELLS
from atlas_ref.data.batch import IGNORED, Batch, sample_digest
from atlas_ref.data.facts import Fact
from atlas_ref.data.identity import identify
from atlas_ref.data.tokenizer import Tokenizer

SIZE, HIGH, WIDE = 6, 2, 3
"""Side of a grid, and rows and columns of a block."""
BANK = 48
"""Puzzles that symmetries are made of."""
IN_ORDER = np.tile(np.arange(1, SIZE + 1), (SUDOKU_CELLS, 1))
"""Digits from 1 on, at every cell."""
TRAINING, VALIDATION = 0, 1
Grid = NDArray[np.int64]


class SudokuTask:
    """Rows drawn afresh for each step (BatchSource); the validation rows are the same for every seed."""

    def __init__(self, data: DataConfig, train: TrainConfig) -> None:
        self.vocab_size = data.sudoku.vocab_size
        self.tokenizer: Tokenizer | None = None
        self.validation_batches = train.eval_batches
        self.facts = [Fact("data", "sudoku of six by six, drawn afresh for every step")]
        self.training_tokens: int | None = None
        self._rows, self._seed, self._blanks = train.batch_size, train.seed, data.sudoku.blanks
        task = data.sudoku.model_dump(exclude={"probabilities"})
        sample = sample_digest((self.batch(0), self.validation(0)))
        self.identity = identify((), text_key="", task=task, tokenizer=None, sample=sample)

    def batch(self, step: int) -> Batch:
        """The training batch of a step."""
        return self._draw(self._seed, step, TRAINING)

    def validation(self, index: int) -> Batch:
        """The validation batch of an index."""
        return self._draw(0, index, VALIDATION)

    def _draw(self, seed: int, number: int, split: int) -> Batch:
        puzzles, solved = bank(seed, self._blanks, split)
        random = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, number, split]))
        chosen = random.integers(len(puzzles), size=self._rows)
        cells = places(random, self._rows)
        digits = np.concatenate([np.zeros((self._rows, 1), np.int64), 1 + _orders(random, self._rows, SIZE)], 1)
        puzzle, solution = (
            np.take_along_axis(digits, np.take_along_axis(grids[chosen], cells, 1), 1) for grids in (puzzles, solved)
        )
        tokens = np.concatenate([puzzle, np.zeros_like(puzzle)], 1)
        targets = np.concatenate([np.full_like(puzzle, IGNORED), np.where(puzzle == 0, solution, IGNORED)], 1)
        reset = np.zeros(tokens.shape, dtype=np.bool_)
        reset[:, 0] = True
        return Batch(torch.from_numpy(tokens), torch.from_numpy(targets), torch.from_numpy(reset))


def places(random: np.random.Generator, rows: int) -> Grid:
    """Return for each row a symmetry of the grid: which cell comes to each place, [rows, 36]."""
    across, down = _lines(random, rows, HIGH), _lines(random, rows, WIDE)
    return (across[:, :, None] * SIZE + down[:, None, :]).reshape(rows, SUDOKU_CELLS)


def _lines(random: np.random.Generator, rows: int, block: int) -> Grid:
    """Return orders of the six lines that keep blocks of `block` lines together."""
    blocks = _orders(random, rows, SIZE // block)
    inside = np.stack([_orders(random, rows, block) for _ in range(SIZE // block)], 1)
    return (blocks[:, :, None] * block + inside).reshape(rows, SIZE)


def _orders(random: np.random.Generator, rows: int, size: int) -> Grid:
    return random.random((rows, size)).argsort(axis=1)


@cache
def bank(seed: int, blanks: int, split: int) -> tuple[Grid, Grid]:
    """Return puzzles with one solution and at most `blanks` blank cells, and their solutions, each [BANK, 36]."""
    random = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, 10 + split]))
    orders = [1 + _orders(random, SUDOKU_CELLS, SIZE) for _ in range(BANK)]
    solved = np.stack([next(solutions([0] * SUDOKU_CELLS, order)) for order in orders])
    return np.stack([emptied(grid, blanks, random) for grid in solved]), solved


def emptied(grid: Grid, blanks: int, random: np.random.Generator) -> Grid:
    """Return a grid with cells taken out in a random order, as long as there is one solution."""
    puzzle = grid.tolist()
    for cell in random.permutation(SUDOKU_CELLS).tolist():
        if puzzle.count(0) == blanks:
            break
        digit, puzzle[cell] = puzzle[cell], 0
        found = solutions(puzzle, IN_ORDER)
        next(found)
        if next(found, None) is not None:
            puzzle[cell] = digit
    return np.array(puzzle)


def solutions(puzzle: list[int], order: Grid) -> Iterator[Grid]:
    """Yield every solution of a puzzle; at the cell that has fewest digits left they are tried in its `order`."""
    left = {cell: _free(puzzle, cell) for cell in range(SUDOKU_CELLS) if puzzle[cell] == 0}
    if not left:
        yield np.array(puzzle)
        return
    cell = min(left, key=lambda each: len(left[each]))
    for digit in order[cell].tolist():
        if digit in left[cell]:
            yield from solutions([*puzzle[:cell], digit, *puzzle[cell + 1 :]], order)


def _free(puzzle: list[int], cell: int) -> set[int]:
    """Return the digits that no cell in the line, the column or the block of a cell holds."""
    return set(range(1, SIZE + 1)) - {puzzle[other] for other in _seen(cell)}


@cache
def _seen(cell: int) -> tuple[int, ...]:
    line, column = divmod(cell, SIZE)
    return tuple(
        other
        for other in range(SUDOKU_CELLS)
        if other // SIZE == line
        or other % SIZE == column
        or (other // SIZE // HIGH, other % SIZE // WIDE) == (line // HIGH, column // WIDE)
    )
