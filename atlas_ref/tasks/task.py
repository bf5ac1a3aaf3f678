"""What a task is to the rest of the house: data, a loss and metrics, so that one loop serves every task.

A task has no state: batches are functions of seed and step (`data.batch`), the loss is one of an output and a batch,
and what a judgement adds up lies in a `Meter` of its own.
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from atlas_ref.config import RunConfig
from atlas_ref.config.span import Span
from atlas_ref.data.batch import Batch, BatchSource, ValidationSource
from atlas_ref.data.tokenizer import Tokenizer
from atlas_ref.models.family import Output


@runtime_checkable
class Meter(Protocol):
    """Adds up what a model does on batches; sums of the parts of a batch are those of the whole."""

    def add(self, output: Output, batch: Batch) -> None:
        """Count the scored places of a batch."""

    def sums(self) -> tuple[float, ...]:
        """Return what was added up so far, to be added to what other processes did."""

    def metrics(self, sums: tuple[float, ...]) -> dict[str, float]:
        """Return the metrics that follow from sums; `loss`, by which the best checkpoint is kept, and `accuracy` are
        among them.
        """


@runtime_checkable
class Task(Protocol):
    """One kind of data, and what is to be learned from it."""

    @property
    def in_parts(self) -> bool:
        """Whether the loss is the cross-entropy of every scored token, which needs no logits of all tokens at once."""

    def source(self, config: RunConfig, tokenizer: Tokenizer | None) -> BatchSource:
        """Return the batches that the config names; `tokenizer` is that of a checkpoint, None for the config's own.

        Raises UserError for data that cannot be read or are too short.
        """

    def span(self, config: RunConfig) -> Span:
        """Return how far back lies what a scored place asks for, at least and at most, in tokens."""

    def count(self, batch: Batch) -> Int[Tensor, ""]:
        """Return how many places of a batch are scored, which the loss of a batch is divided by."""

    def loss(self, output: Output, batch: Batch) -> Float[Tensor, ""]:
        """Return the loss with its graph, summed over those places, in nats."""

    def meter(self, source: ValidationSource) -> Meter:
        """Return what judges a model on batches of `source`, with nothing added up yet."""
