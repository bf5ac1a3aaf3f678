"""A task that the house has never seen is trained, watched and judged by the same loop."""

import math
from pathlib import Path

import pytest
from torch import Tensor

from atlas_ref.config import RunConfig
from atlas_ref.data.batch import Batch, BatchSource, ValidationSource
from atlas_ref.data.tokenizer import Tokenizer
from atlas_ref.models.family import Output
from atlas_ref.tasks.language import LanguageModelling
from atlas_ref.tasks.task import Meter
from spec_tests.package.micro.runs import metric_lines, micro_config, start


class Halved(LanguageModelling):
    """Half the cross-entropy, judged by a meter of its own; it remembers what it was asked for."""

    def __init__(self) -> None:
        self.seeds: list[int] = []

    def source(self, config: RunConfig, tokenizer: Tokenizer | None) -> BatchSource:
        self.seeds.append(config.train.seed)
        return super().source(config, tokenizer)

    def loss(self, output: Output, batch: Batch) -> Tensor:
        return 0.5 * super().loss(output, batch)

    def meter(self, source: ValidationSource) -> Meter:
        return Batches()


class Batches:
    """Judges every model alike: by the number of batches."""

    def __init__(self) -> None:
        self._seen = 0.0

    def add(self, output: Output, batch: Batch) -> None:
        self._seen += 1.0

    def sums(self) -> tuple[float, ...]:
        return (self._seen,)

    def metrics(self, sums: tuple[float, ...]) -> dict[str, float]:
        return {"loss": 1.0 / sums[0], "accuracy": 0.25}


def test_data_loss_and_metrics_are_those_of_the_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a step or a judgement that knows the cross-entropy of text by heart."""
    usual = micro_config("model.init_std=0.001", "train.seed=5", "train.max_steps=3")
    start(usual, tmp_path / "usual")
    task = Halved()
    monkeypatch.setattr("atlas_ref.tasks.registry.TASKS", {"shakespeare": task})
    start(usual, tmp_path / "halved")
    assert task.seeds == [5]
    first, *_, last = metric_lines(tmp_path / "halved")
    assert first["train/loss"] == 0.5 * metric_lines(tmp_path / "usual")[0]["train/loss"]
    assert first["train/loss"] == pytest.approx(0.5 * math.log(257), rel=1e-2)
    assert (last["val/loss"], last["val/accuracy"]) == (0.5, 0.25)


def test_a_task_with_another_loss_is_never_judged_by_the_cross_entropy_of_its_parts() -> None:
    """Kills: the loss of a large vocabulary, made without logits, in the place of one that a task makes of them."""
    assert LanguageModelling().in_parts
    assert not Halved().in_parts
