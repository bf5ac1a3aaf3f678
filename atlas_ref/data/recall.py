"""Multi-query associative recall (MQAR, arXiv 2312.04927) with answers that no attention window can reach.

A row is one document of exactly T = `sequence_length` tokens:

    k_1 v_1 ... k_p v_p   f_1 ... f_G   q_1 f q_2 f ... q_m f        G = T - 2 p - 2 m >= gap

Keys are drawn without replacement, values with it, so that one answer says nothing about another. The queries are m of
the p keys, each at most once, in a random order. Only the positions of the q_j are scored, and the target is the value
that stood behind q_j. The nearest pair lies G + 1 tokens back, which the configuration keeps above the reach of all
attention windows and convolutions together: without memory, nothing beats guessing, right once in `values` times.
Tokens: keys first, then values, then fillers (f), which are neither.

Deliberately different from MQAR: a filler, never the answer, follows a query. Shown answers would reward a memory that
binds nothing: it keeps the *set* of values and excludes those that were shown, right in 37% of eight queries.
Here such a memory is right once in `pairs` times, and only a memory that binds values to keys does better.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from atlas_ref.config import DataConfig, TrainConfig
from atlas_ref.config.vocabulary import RECALL_FILLERS
from atlas_ref.data.batch import IGNORED, Batch, sample_digest
from atlas_ref.data.facts import Fact
from atlas_ref.data.identity import identify
from atlas_ref.data.tokenizer import Tokenizer

TRAINING, VALIDATION = 0, 1


class RecallTask:
    """Rows drawn afresh for each step (BatchSource); the validation rows are the same for every seed."""

    def __init__(self, data: DataConfig, train: TrainConfig) -> None:
        self.vocab_size = data.recall.vocab_size
        self.tokenizer: Tokenizer | None = None
        self.validation_batches = train.eval_batches
        self.facts = [Fact("data", "associative recall, drawn afresh for every step")]
        self.training_tokens: int | None = None
        self._task = data.recall
        self._filler = data.recall.filler(data.sequence_length)
        self._rows = train.batch_size
        self._seed = train.seed
        self._resets = data.reset_memory_per_sequence
        task = {**data.recall.model_dump(), "sequence_length": data.sequence_length}
        sample = sample_digest((self.batch(0), self.validation(0)))
        self.identity = identify((), text_key="", task=task, tokenizer=None, sample=sample)

    def batch(self, step: int) -> Batch:
        """The training batch of a step."""
        return self._draw(_generator(self._seed, step, TRAINING))

    def validation(self, index: int) -> Batch:
        """The validation batch of an index."""
        return self._draw(_generator(0, index, VALIDATION))

    def _draw(self, random: np.random.Generator) -> Batch:
        task, rows = self._task, self._rows
        keys = random.random((rows, task.keys)).argsort(axis=1)[:, : task.pairs]
        values = task.keys + random.integers(task.values, size=(rows, task.pairs))
        filler = task.keys + task.values + random.integers(RECALL_FILLERS, size=(rows, self._filler + task.queries))
        asked = random.random((rows, task.pairs)).argsort(axis=1)[:, : task.queries]
        queries = np.take_along_axis(keys, asked, axis=1)

        pairs = np.stack((keys, values), axis=2).reshape(rows, -1)
        questions = np.stack((queries, filler[:, self._filler :]), axis=2).reshape(rows, -1)
        tokens = np.concatenate((pairs, filler[:, : self._filler], questions), axis=1)
        targets = np.full_like(tokens, IGNORED)
        targets[:, pairs.shape[1] + self._filler :: 2] = np.take_along_axis(values, asked, axis=1)
        reset = np.zeros(tokens.shape, dtype=np.bool_)
        reset[:, 0] = self._resets
        return Batch(torch.from_numpy(tokens), torch.from_numpy(targets), torch.from_numpy(reset))


def recall_accuracy(logits: Float[Tensor, "batch time vocab"], targets: Int[Tensor, "batch time"]) -> Float[Tensor, ""]:
    """Share of the scored positions whose largest logit is that of the target; NaN if no position is scored."""
    scored = targets != IGNORED
    return (logits.argmax(dim=-1) == targets)[scored].float().mean()


def _generator(seed: int, step: int, split: int) -> np.random.Generator:
    """A counter-based generator: each (seed, step, split) has 2^128 blocks of numbers of its own."""
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, step, split]))
