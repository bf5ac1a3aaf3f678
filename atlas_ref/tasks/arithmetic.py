"""Arithmetic: one answer a row, behind its last token, and a loss of softmax or of StableMax.

    loss = -sum log p(logits behind the last token)[answer] / number of answers

What stands before the last token is not looked at: it has no targets, and half of the work of a small network would go
into the softmax of what nobody asked for.
"""

from collections.abc import Callable
from typing import Final

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import log_softmax, nll_loss

from atlas_ref.data.batch import IGNORED, Batch, ValidationSource
from atlas_ref.functional.normalize import at_least_float32
from atlas_ref.functional.stablemax import log_stablemax
from atlas_ref.models.family import Output
from atlas_ref.tasks.language import LanguageModelling, TokenMeter
from atlas_ref.tasks.task import Meter


class Arithmetic(LanguageModelling):
    """Questions with one answer, judged as tokens are (Task); `logarithms` makes log p of logits."""

    def __init__(self, logarithms: Callable[[Tensor], Tensor]) -> None:
        self._logarithms = logarithms

    def loss(self, output: Output, batch: Batch) -> Float[Tensor, ""]:
        """Return the summed loss in nats."""
        return self.losses(output, batch)[0]

    def losses(self, output: Output, batch: Batch) -> tuple[Float[Tensor, ""], Int[Tensor, ""]]:
        """Return the summed loss in nats, and the number of answers."""
        answers = batch.targets[:, -1]
        logs = self._logarithms(output.logits[:, -1])
        return nll_loss(logs, answers, ignore_index=IGNORED, reduction="sum"), (answers != IGNORED).sum()

    def meter(self, source: ValidationSource) -> Meter:
        """Return a meter of this loss."""
        return TokenMeter(source.tokenizer, self.losses)


def log_probabilities(logits: Float[Tensor, "batch vocab"]) -> Float[Tensor, "batch vocab"]:
    """Return log softmax, in float32 or wider."""
    return log_softmax(at_least_float32(logits), -1)


ARITHMETIC: Final = {"softmax": Arithmetic(log_probabilities), "stablemax": Arithmetic(log_stablemax)}
"""The task by `data.arithmetic.probabilities`."""
