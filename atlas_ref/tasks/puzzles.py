"""Puzzles: rows that are one question each, right where every scored place of the row is.

    loss = -sum log softmax(logits)[target] / number of targets

A judgement also counts whole rows.
"""

from atlas_ref.data.batch import IGNORED, Batch, ValidationSource
from atlas_ref.models.family import Output
from atlas_ref.tasks.language import LanguageModelling, TokenMeter
from atlas_ref.tasks.task import Meter


class Puzzles(LanguageModelling):
    """The cross-entropy of every scored place, and how many rows are right as a whole (Task)."""

    def meter(self, source: ValidationSource) -> Meter:
        """Return a meter that counts whole rows too."""
        return RowMeter(source.tokenizer)


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
