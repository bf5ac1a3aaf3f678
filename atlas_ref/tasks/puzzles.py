"""Puzzles: rows that are one question each, right where every scored place of the row is.

    loss = -sum log p(logits)[target] / number of targets,    p the softmax or StableMax (2501.04697)

A judgement also counts whole rows.
"""

from typing import Final

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import nll_loss

from atlas_ref.data.batch import IGNORED, Batch, ValidationSource
from atlas_ref.functional.stablemax import log_stablemax
from atlas_ref.models.family import Output
from atlas_ref.tasks.language import LanguageModelling, Losses, TokenMeter, losses_of_tokens
from atlas_ref.tasks.task import Meter


def stable_losses(output: Output, batch: Batch) -> tuple[Float[Tensor, ""], Int[Tensor, ""]]:
    """Return -sum log StableMax(logits)[target] in nats and float64, and the number of counted targets."""
    logs, targets = log_stablemax(output.logits).flatten(0, 1), batch.targets.flatten()
    return nll_loss(logs, targets, ignore_index=IGNORED, reduction="sum"), (targets != IGNORED).sum()


class Puzzles(LanguageModelling):
    """The loss of every scored place, and how many rows are right as a whole (Task)."""

    def __init__(self, losses: Losses) -> None:
        self._losses = losses

    def loss(self, output: Output, batch: Batch) -> Float[Tensor, ""]:
        """Return the summed loss in nats."""
        return self._losses(output, batch)[0]

    def meter(self, source: ValidationSource) -> Meter:
        """Return a meter that counts whole rows too."""
        return RowMeter(source.tokenizer, self._losses)


class RowMeter(TokenMeter):
    """What a TokenMeter adds up, and rows (Meter)."""

    def add(self, output: Output, batch: Batch) -> None:
        """Count the targets and the rows of a batch; a row without a target is no question."""
        super().add(output, batch)
        scored = batch.targets != IGNORED
        right = ((self.likeliest(output) == batch.targets) | ~scored).all(-1)
        asked = scored.any(-1)
        self._rows_right += float((right & asked).sum())
        self._rows += float(asked.sum())

    def sums(self) -> tuple[float, ...]:
        """Return the sums of tokens, then right rows and rows."""
        return *super().sums(), self._rows_right, self._rows

    def metrics(self, sums: tuple[float, ...]) -> dict[str, float]:
        """Return the metrics of tokens, `row_accuracy`, the share of rows that are wholly right, and their number."""
        *tokens, right, asked = sums
        return {**super().metrics(tuple(tokens)), "row_accuracy": right / max(1.0, asked), "rows": asked}

    _rows_right, _rows = 0.0, 0.0


PUZZLES: Final = {"softmax": Puzzles(losses_of_tokens), "stablemax": Puzzles(stable_losses)}
"""The task by `data.relay.probabilities` or `data.sudoku.probabilities`."""
