"""Episodes: what is stored is learned as a text, and what is asked for again counts for its weight.

    loss = w_s mean(CE over storage) + w_r mean(CE over masked answers)        (`functional.episode_loss`)

A judgement counts masked answers alone, each right where all of its tokens are (`data.episode_rows`).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from atlas_ref.data.batch import IGNORED, Batch, EpisodicSource, ValidationSource
from atlas_ref.functional.episode_loss import weighted_loss
from atlas_ref.metrics.retrieval import answered
from atlas_ref.models.family import Output
from atlas_ref.tasks.language import LanguageModelling, token_losses
from atlas_ref.tasks.task import Meter


class EpisodicTask(LanguageModelling):
    """Storage and retrieval, each for its weight (Task)."""

    def loss(self, output: Output, batch: Batch) -> Float[Tensor, ""]:
        """Return the cross-entropy in nats, summed with the weight of each target."""
        assert batch.episode is not None, "batches of episodes say which of their targets are asked for"
        return weighted_loss(output.logits, batch.targets, batch.episode.weight)

    def meter(self, source: ValidationSource) -> Meter:
        """Return a meter of masked answers."""
        assert isinstance(source, EpisodicSource)
        return EpisodeMeter(source.numbers)


class EpisodeMeter:
    """Losses of both phases, and masked answers by what they are (Meter)."""

    def __init__(self, numbers: range) -> None:
        self._numbers = numbers
        self._sums = torch.zeros(9, dtype=torch.float64)

    def add(self, output: Output, batch: Batch) -> None:
        """Count the targets and the answers of a batch."""
        assert batch.episode is not None
        episode, said = batch.episode, output.logits.argmax(-1)
        masked = torch.where(episode.answer > 0, batch.targets, IGNORED)
        losses, count = token_losses(output.logits, masked)
        found = answered(said, batch.targets, episode.answer, self._numbers)
        each = (
            weighted_loss(output.logits, batch.targets, episode.weight),
            (batch.targets != IGNORED).sum(),
            losses,
            count,
            ((said == batch.targets) & (episode.answer > 0)).sum(),
            *(
                part.sum()
                for kind in (~found.number, found.number)
                for part in (found.right & kind, found.asked & kind)
            ),
        )
        self._sums += torch.stack([value.double() for value in each]).cpu()

    def sums(self) -> tuple[float, ...]:
        """Return the weighted loss and its targets; loss, number and hits of masked tokens; words, then sums, right and
        asked for.
        """
        return tuple(self._sums.tolist())

    def metrics(self, sums: tuple[float, ...]) -> dict[str, float]:
        """Return `loss`, that of training; of masked tokens `masked_loss`, `perplexity`, `accuracy` and their number;
        and of whole answers `answer_accuracy`, `word_accuracy`, `sum_accuracy` and the number of `answers`.
        """
        loss, targets, masked, tokens, hits, words, asked_words, totals, asked_totals = sums
        asked = asked_words + asked_totals
        kinds = (("word", words, asked_words), ("sum", totals, asked_totals))
        return {
            "loss": loss / max(1.0, targets),
            "masked_loss": masked / max(1.0, tokens),
            "perplexity": math.exp(min(masked / max(1.0, tokens), 700.0)),
            "accuracy": hits / max(1.0, tokens),
            "tokens": tokens,
            "answer_accuracy": (words + totals) / max(1.0, asked),
            **{f"{kind}_accuracy": right / count for kind, right, count in kinds if count},
            "answers": asked,
        }
