"""What a source of data gives: a batch is a function of the seed and the step, so a run can go on from any step."""

import hashlib
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor

from atlas_ref.data.adapters.row import Example
from atlas_ref.data.facts import Fact
from atlas_ref.data.identity import DataIdentity
from atlas_ref.data.tokenizer import Tokenizer

IGNORED = -100
"""Target of a position that is not scored; the ignore_index of torch's cross-entropy."""


class Episode(NamedTuple):
    """What a batch of episodes says of its tokens besides (`data.episodes`); its `reset` begins contexts alone."""

    memory: Bool[Tensor, "batch time"]
    """True where a token starts a memory: at the first one of an episode, and not where it is asked what it stored."""
    answer: Int[Tensor, "batch time"]
    """The number, in its row, of the masked answer that the target is of; 0 where the target is of none."""
    floor: Float[Tensor, "batch time"]
    """The least gate of each token, by the phase that it is read in."""
    weight: Float[Tensor, "batch time"]
    """What the loss of each target is multiplied by."""


class Batch(NamedTuple):
    """Tokens and what follows them."""

    tokens: Int[Tensor, "batch time"]
    """Input of the model, int64."""
    targets: Int[Tensor, "batch time"]
    """What the model should predict at each position, int64; IGNORED where nothing is scored."""
    reset: Bool[Tensor, "batch time"]
    """True where a token starts a document: memory from before it must not reach it."""
    episode: Episode | None = None
    """What else there is to know where a memory is handed on to another context; None: nothing."""

    def map(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        """Return the batch with `function` applied to every tensor."""
        episode = None if self.episode is None else Episode(*map(function, self.episode))
        return Batch(function(self.tokens), function(self.targets), function(self.reset), episode)

    def tensors(self) -> tuple[Tensor, ...]:
        """Return every tensor."""
        return (self.tokens, self.targets, self.reset, *(self.episode or ()))


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


class Phases(NamedTuple):
    """The two phases of an episode of each row, of any number of tokens."""

    storage: Batch
    retrieval: Batch


@runtime_checkable
class EpisodicSource(BatchSource, Protocol):
    """Batches of episodes, which can be judged phase by phase."""

    numbers: range
    """The tokens that are numbers: a masked answer is a sum or a word of text."""

    def episode(self, index: int) -> Phases:
        """A validation episode of each row, whole; there is no end of them.

        Where answers are drawn, rows 2 i and 2 i + 1 are asked the same and were told different things.
        """


def sample_digest(batches: Iterable[Batch]) -> str:
    """The checksum of some batches."""
    digest = hashlib.sha256()
    for batch in batches:
        for tensor in batch.tensors():
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
