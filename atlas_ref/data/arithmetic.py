"""Arithmetic modulo p: every pair of numbers is a question, a share of them is trained on, and grokking is the rest.

    tokens   a b          two numbers below p, a row of two tokens, which is a document
    target   - c          c = a + b mod p, or a b mod p, behind the second number; nothing is scored before that
    tokens   a b =        with `equals`: the token p stands behind the numbers, and the answer behind it

The setting of Power et al. (arXiv 2201.02177) without the token of the operation, which says nothing where there is one
operation. All p^2 ordered pairs are put in an order that depends on `split_seed` alone; the
first `trained` are trained on, in rounds (`data.rounds`), and no other ever is. A pair and its mirror image may be on
different sides. A batch of as many rows as there are trained pairs is the full batch: every pair, once.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from atlas_ref.config import DataConfig, TrainConfig
from atlas_ref.config.data import ArithmeticConfig
from atlas_ref.data.batch import IGNORED, Batch, sample_digest
from atlas_ref.data.facts import Fact
from atlas_ref.data.identity import NO_DATA, DataIdentity, identify
from atlas_ref.data.rounds import rows_of_step
from atlas_ref.data.tokenizer import Tokenizer

SIGNS = {"add": "+", "multiply": "*"}


class Pairs:
    """Pairs in an order, judged in batches of `rows`, the last of which is filled up with rows that nothing scores in.

    A ValidationSource of its own: the pairs that are trained on can be judged as those that are not.
    """

    def __init__(
        self, pairs: NDArray[np.int64], answers: NDArray[np.int64], rows: int, equals: int | None = None
    ) -> None:
        self.pairs, self.answers, self.rows, self.equals = pairs, answers, rows, equals
        self.validation_batches = -(-len(pairs) // rows)
        self.tokenizer: Tokenizer | None = None
        self.identity: DataIdentity = NO_DATA

    def validation(self, index: int) -> Batch:
        """The batch of an index below validation_batches."""
        if not 0 <= index < self.validation_batches:
            raise ValueError(f"validation batch {index} does not exist; there are {self.validation_batches}")
        numbers = index * self.rows + np.arange(self.rows)
        return self.batch(np.minimum(numbers, len(self.pairs) - 1), numbers < len(self.pairs))

    def batch(self, chosen: NDArray[np.int64], scored: NDArray[np.bool_]) -> Batch:
        """The pairs of these indices as rows; those that are not `scored` have no target."""
        tokens = self.pairs[chosen]
        if self.equals is not None:
            tokens = np.pad(tokens, ((0, 0), (0, 1)), constant_values=self.equals)
        targets, reset = np.full_like(tokens, IGNORED), np.zeros(tokens.shape, dtype=np.bool_)
        targets[:, -1] = np.where(scored, self.answers[chosen], IGNORED)
        reset[:, 0] = True
        return Batch(torch.from_numpy(tokens), torch.from_numpy(targets), torch.from_numpy(reset))


class ArithmeticPairs:
    """The pairs that are trained on and the others (KnownSource)."""

    def __init__(self, data: DataConfig, train: TrainConfig) -> None:
        task = data.arithmetic
        self.vocab_size, self.numbers = task.vocab_size, task.modulus
        self.tokenizer: Tokenizer | None = None
        self._rows, self._seed = train.batch_size, train.seed
        self.trained, self.held_out = split(task, train.batch_size)
        self.validation_batches = self.held_out.validation_batches
        self.training_tokens: int | None = len(self.trained.pairs) * task.length
        asked = f"{len(self.trained.pairs):,} of {task.modulus**2:,} pairs are trained on"
        self.facts = [Fact("data", f"a {SIGNS[task.operation]} b mod {task.modulus}: {asked}, the others are not")]
        known = {"modulus": task.modulus, "multiply": int(task.operation == "multiply"), "trained": task.trained}
        known["equals"] = int(task.equals)
        sample = sample_digest((self.batch(0), self.validation(0)))
        self.identity = identify((), text_key="", task=known, tokenizer=None, sample=sample)
        self.trained.identity = self.held_out.identity = self.identity

    def batch(self, step: int) -> Batch:
        """The training batch of a step."""
        chosen = rows_of_step(step, self._rows, len(self.trained.pairs), self._seed)
        return self.trained.batch(chosen, np.ones(len(chosen), dtype=np.bool_))

    def validation(self, index: int) -> Batch:
        """The validation batch of an index below validation_batches."""
        return self.held_out.validation(index)


def split(task: ArithmeticConfig, rows: int) -> tuple[Pairs, Pairs]:
    """Return the pairs that are trained on and those that are not, each in batches of `rows`, or of all if fewer."""
    p = task.modulus
    order = np.random.Generator(np.random.Philox(key=task.split_seed)).permutation(p * p)
    pairs = np.stack(np.divmod(order, p), axis=1)
    a, b = pairs[:, 0], pairs[:, 1]
    answers = (a + b if task.operation == "add" else a * b) % p
    parts, sign = (slice(0, task.trained), slice(task.trained, p * p)), p if task.equals else None
    trained, held_out = (Pairs(pairs[x], answers[x], min(rows, len(pairs[x])), sign) for x in parts)
    return trained, held_out
