"""Language modelling: the next token, or the answer, wherever a batch has a target.

    loss = -sum log softmax(logits)[target] / number of targets

Text scores every token that another one announces; associative recall (`data.recall`) only the answers.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from atlas_ref.config import RunConfig
from atlas_ref.config.span import Span
from atlas_ref.data.batch import IGNORED, Batch, BatchSource, ValidationSource
from atlas_ref.data.streams import open_source
from atlas_ref.data.tokenizer import Tokenizer
from atlas_ref.metrics.perplexity import perplexity
from atlas_ref.models.family import Output
from atlas_ref.tasks.task import Meter


def token_losses(
    logits: Float[Tensor, "batch time vocab"], targets: Int[Tensor, "batch time"]
) -> tuple[Float[Tensor, ""], Int[Tensor, ""]]:
    """Return the summed cross-entropy in nats, -sum log softmax(logits)[target], and the number of counted targets.

    Targets of -100 do not count. The softmax is in fp32 or wider whatever the logits are.
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    total = cross_entropy(wide.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")
    return total, (targets != IGNORED).sum()


Losses = Callable[[Output, Batch], tuple[Float[Tensor, ""], Int[Tensor, ""]]]
"""The summed loss of an output, and the number of targets."""


def losses_of_tokens(output: Output, batch: Batch) -> tuple[Float[Tensor, ""], Int[Tensor, ""]]:
    """Return `token_losses` of all logits."""
    return token_losses(output.logits, batch.targets)


class LanguageModelling:
    """Text or recall rows, cross-entropy, and how well the likeliest token does (Task)."""

    @property
    def in_parts(self) -> bool:
        """Whether the loss is the one below; a task that makes another of it needs all logits."""
        return type(self).loss is LanguageModelling.loss

    def source(self, config: RunConfig, tokenizer: Tokenizer | None) -> BatchSource:
        """Return the source that the config names."""
        return open_source(config, tokenizer)

    def span(self, config: RunConfig) -> Span:
        """Return the span of the data, which each section of them knows of itself."""
        return config.data.span

    def count(self, batch: Batch) -> Int[Tensor, ""]:
        """Return the number of targets."""
        return (batch.targets != IGNORED).sum()

    def loss(self, output: Output, batch: Batch) -> Float[Tensor, ""]:
        """Return the summed cross-entropy in nats."""
        return token_losses(output.logits, batch.targets)[0]

    def meter(self, source: ValidationSource) -> Meter:
        """Return a meter that knows how many bytes the tokens of the source stand for."""
        return TokenMeter(source.tokenizer)


class TokenMeter:
    """Loss, hits, targets, and for text the bytes that the targets stand for (Meter).

    The loss is over all tokens of the model, as in training; a hit is the likeliest of those that the tokenizer has.
    """

    def __init__(self, tokenizer: Tokenizer | None, losses: Losses = losses_of_tokens) -> None:
        self._losses_of = losses
        self._known = None if tokenizer is None else tokenizer.vocab_size
        self._widths = None if tokenizer is None else _bytes_of_tokens(tokenizer)
        self._losses, self._right, self._counted, self._read = 0.0, 0.0, 0.0, 0.0

    def add(self, output: Output, batch: Batch) -> None:
        """Count the targets of a batch."""
        total, count = self._losses_of(output, batch)
        self._losses, self._counted = self._losses + total.item(), self._counted + count.item()
        # An ignored target is negative, so no logit's index equals it.
        self._right += (self.likeliest(output) == batch.targets).sum().item()
        if self._widths is not None:
            self._read += self._widths[batch.targets[batch.targets != IGNORED].cpu()].sum().item()

    def likeliest(self, output: Output) -> Int[Tensor, "batch time"]:
        """Return the likeliest token at each place, of those that the tokenizer has."""
        return output.logits[..., : self._known].argmax(-1)

    def sums(self) -> tuple[float, ...]:
        """Return losses, hits, targets and bytes."""
        return self._losses, self._right, self._counted, self._read

    def metrics(self, sums: tuple[float, ...]) -> dict[str, float]:
        """Return loss (nats a counted token), perplexity = exp(loss), accuracy of the likeliest token, and the count.

        For text also `bytes`, those of UTF-8 that the counted tokens stand for, and `bits_per_byte`, the nats of all
        counted tokens / (ln 2 * bytes): the tokenizer's share is taken out. The end of a document is a token without
        bytes.
        """
        losses, right, counted, read = sums
        loss = losses / max(1, counted)
        bits = {"bytes": read, "bits_per_byte": losses / (math.log(2) * max(1, read))}
        return {
            "loss": loss,
            "perplexity": perplexity(loss),
            "accuracy": right / max(1, counted),
            "tokens": counted,
            **(bits if self._widths is not None else {}),
        }


def _bytes_of_tokens(tokenizer: Tokenizer) -> Int[Tensor, " vocab"]:
    """Return how many bytes of UTF-8 each token stands for."""
    return torch.tensor([len(tokenizer.token_bytes(token)) for token in range(tokenizer.vocab_size)])
