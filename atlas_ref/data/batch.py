"""What a source of data gives: a batch is a function of the seed and the step, so a run can go on from any step."""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Bool, Int
from torch import Tensor

from atlas_ref.data.adapters.row import Example
from atlas_ref.data.facts import Fact
from atlas_ref.data.identity import DataIdentity
from atlas_ref.data.tokenizer import Tokenizer

IGNORED = -100
"""Target of a position that is not scored; the ignore_index of torch's cross-entropy."""


class Batch(NamedTuple):
    """Tokens and what follows them."""

    tokens: Int[Tensor, "batch time"]
    """Input of the model, int64."""
    targets: Int[Tensor, "batch time"]
    """What the model should predict at each position, int64; IGNORED where nothing is scored."""
    reset: Bool[Tensor, "batch time"]
    """True where a token starts a document: memory from before it must not reach it."""


@runtime_checkable
class ValidationSource(Protocol):
    """Batches to judge a model on, by number."""

    validation_batches: int
    """Number of different validation batches."""
    tokenizer: Tokenizer | None
    """The tokenizer of text; None for a task that is not text."""
    identity: DataIdentity
    """Which data these are."""

    def validation(self, index: int) -> Batch:
        """A validation batch, the same for every seed; rows continue from index to index, and start fresh at 0."""


@runtime_checkable
class BatchSource(ValidationSource, Protocol):
    """Batches by number, with no iterator and no hidden state; a run that goes on must read the same `identity`."""

    vocab_size: int
    """Tokens are 0 to vocab_size - 1."""
    facts: list[Fact]
    """What a person should know of it before a run."""
    training_tokens: int | None
    """Tokens of one round over the training data; None where there is no end of them."""

    def batch(self, step: int) -> Batch:
        """The training batch of a step; row b at step n + 1 continues row b at step n."""


@runtime_checkable
class KnownSource(BatchSource, Protocol):
    """Batches of a set of questions that is small enough to be judged as a whole."""

    numbers: int
    """Tokens below this one are the numbers that questions are about."""

    @property
    def trained(self) -> ValidationSource:
        """The questions that are trained on, each once, to judge a model on."""


@runtime_checkable
class StagedSource(BatchSource, Protocol):
    """Batches of several sets, which may change from stage to stage of a curriculum."""

    asked: dict[str, list[Example]]
    """Validation examples of each set, to be answered and judged."""

    def border(self, step: int) -> str | None:
        """Return what there is to say where a stage begins with a step (0-based), None elsewhere."""


def sample_digest(batches: Iterable[Batch]) -> str:
    """The checksum of some batches."""
    digest = hashlib.sha256()
    for batch in batches:
        for tensor in batch:
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
