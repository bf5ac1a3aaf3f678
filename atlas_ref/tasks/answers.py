"""Answering: the tokens of the answers and their ends are learned, and an answer is right when all of it is.

    loss = -sum log softmax(logits)[target] / number of targets,    targets of answers alone (`data.packing`)

A judgement also counts whole answers, each read with the right tokens before every place: right where the likeliest
token is the target at all places of a run of targets. In a batch a run is an answer, as each ends with a separator,
behind which nothing is scored.
"""

from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.functional import pad

from atlas_ref.data.batch import IGNORED, Batch, ValidationSource
from atlas_ref.models.family import Output
from atlas_ref.tasks.language import LanguageModelling, TokenMeter
from atlas_ref.tasks.task import Meter


class Answering(LanguageModelling):
    """Prompts with answers: the cross-entropy of answers, and how many are right as a whole (Task)."""

    def meter(self, source: ValidationSource) -> Meter:
        """Return a meter that counts whole answers too."""
        return AnswerMeter(source.tokenizer)


class AnswerMeter(TokenMeter):
    """What a TokenMeter adds up, and answers (Meter)."""

    def add(self, output: Output, batch: Batch) -> None:
        """Count the targets and the answers of a batch."""
        super().add(output, batch)
        right, asked = whole_answers(self.likeliest(output), batch.targets)
        self._answers_right, self._answers = self._answers_right + right, self._answers + asked

    def sums(self) -> tuple[float, ...]:
        """Return the sums of tokens, then right answers and answers."""
        return *super().sums(), self._answers_right, self._answers

    def metrics(self, sums: tuple[float, ...]) -> dict[str, float]:
        """Return the metrics of tokens, `answer_accuracy`, the share of answers that are right as a whole, and their
        number.
        """
        *tokens, right, asked = sums
        return {**super().metrics(tuple(tokens)), "answer_accuracy": right / max(1.0, asked), "answers": asked}

    _answers_right, _answers = 0.0, 0.0


def whole_answers(said: Int[Tensor, "batch time"], targets: Int[Tensor, "batch time"]) -> tuple[float, float]:
    """Return how many runs of targets were said right at every place, and how many there are."""
    scored = targets != IGNORED
    begins = scored & ~_before(scored)
    wrong = scored & (said != targets)
    # The number of the run that a place belongs to; those of a row go on from those of the row before.
    run = begins.flatten().cumsum(0)
    asked = int(run[-1])
    failed = run.new_zeros(asked + 1).index_fill(0, run[wrong.flatten()], 1)
    return float(asked - int(failed.sum())), float(asked)


def _before(marks: Bool[Tensor, "batch time"]) -> Bool[Tensor, "batch time"]:
    """Return the mark of the place before each, False at the first."""
    return pad(marks[:, :-1], (1, 0))
