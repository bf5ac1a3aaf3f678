"""Relay: a task of which it can be proved how far a model must look, and so how often it must look again.

    tokens   s_0 _ _ _ s_4 _ _ ...      a symbol at the first place, and at each later one once in `every`
    target_t the last symbol at or before t

A row is one document, every place is scored, and the target never depends on what follows. Attention over W tokens
moves a symbol at most W - 1 places, so whatever its weights are, a model that looks E times through L layers knows
nothing of a symbol that is farther than R = L E (W - 1) places: there it is right once in `symbols` times. Of all
places together it is right, at best, in the share

    bound(R) = P(near) + P(far) / symbols,   P(far) = mean over t of [t > R] (1 - 1 / every)^(R + 1)

since t is far where the places t - R .. t hold no symbol, and the first place holds one.
"""

import numpy as np
import torch

from atlas_ref.config import DataConfig, TrainConfig
from atlas_ref.config.data import RelayConfig
from atlas_ref.data.batch import Batch, sample_digest
from atlas_ref.data.facts import Fact
from atlas_ref.data.identity import identify
from atlas_ref.data.tokenizer import Tokenizer

TRAINING, VALIDATION = 0, 1


class RelayTask:
    """Rows drawn afresh for each step (BatchSource); the validation rows are the same for every seed."""

    def __init__(self, data: DataConfig, train: TrainConfig) -> None:
        self.vocab_size = data.relay.vocab_size
        self.tokenizer: Tokenizer | None = None
        self.validation_batches = train.eval_batches
        self.facts = [Fact("data", "relay of symbols, drawn afresh for every step")]
        self.training_tokens: int | None = None
        self._task, self._length = data.relay, data.sequence_length
        self._rows, self._seed = train.batch_size, train.seed
        task = {**data.relay.model_dump(exclude={"probabilities"}), "sequence_length": data.sequence_length}
        sample = sample_digest((self.batch(0), self.validation(0)))
        self.identity = identify((), text_key="", task=task, tokenizer=None, sample=sample)

    def batch(self, step: int) -> Batch:
        """The training batch of a step."""
        return self._draw(np.random.Generator(np.random.Philox(key=self._seed, counter=[0, 0, step, TRAINING])))

    def validation(self, index: int) -> Batch:
        """The validation batch of an index."""
        return self._draw(np.random.Generator(np.random.Philox(key=0, counter=[0, 0, index, VALIDATION])))

    def _draw(self, random: np.random.Generator) -> Batch:
        shape, task = (self._rows, self._length), self._task
        holds = random.integers(task.every, size=shape) == 0
        holds[:, 0] = True
        tokens = np.where(holds, random.integers(task.symbols, size=shape), task.symbols)
        # The place of the last symbol at or before each place.
        last = np.maximum.accumulate(np.where(holds, np.arange(self._length), 0), axis=1)
        reset = np.zeros(shape, dtype=np.bool_)
        reset[:, 0] = True
        targets = np.take_along_axis(tokens, last, axis=1)
        return Batch(torch.from_numpy(tokens), torch.from_numpy(targets), torch.from_numpy(reset))


def distances(batch: Batch, symbols: int) -> torch.Tensor:
    """Return how many places back the symbol of each target stands, [batch, time]."""
    index = torch.arange(batch.tokens.shape[1])
    holds = torch.where(batch.tokens < symbols, index, 0)
    return index - holds.cummax(1).values


def bound(task: RelayConfig, length: int, reach: int) -> float:
    """Return the largest share of places at which a model that sees `reach` places back can be right (module text)."""
    far = max(0, length - 1 - reach) / length * (1.0 - 1.0 / task.every) ** (reach + 1)
    return 1.0 - far + far / task.symbols
