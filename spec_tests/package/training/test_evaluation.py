"""Validation: one pass with the state carried, judged as its definition says, that training does not notice.

Every test names the fault that was put into the program by hand and that it caught.
"""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from atlas_ref.data.batch import IGNORED
from atlas_ref.data.streams import open_source
from atlas_ref.models.atlas import AtlasModel, ModelOutput, ModelState
from atlas_ref.tasks.registry import task_of
from atlas_ref.training.evaluate import evaluate
from spec_tests.package.micro.runs import (
    RECALL,
    metric_lines,
    micro_config,
    saved_bytes,
    start,
)


def test_validation_leaves_the_training_state_untouched(tmp_path: Path) -> None:
    """Kills: a loop that goes on from a fresh state, or from that of the validation, after validating."""
    quiet = micro_config("train.eval_interval=1000", "train.eval_batches=1")
    busy = micro_config("train.eval_interval=1", "train.eval_batches=3")
    start(quiet, tmp_path / "quiet")
    start(busy, tmp_path / "busy")

    assert saved_bytes(tmp_path / "quiet") == saved_bytes(tmp_path / "busy")
    assert [line["step"] for line in metric_lines(tmp_path / "busy") if "val/loss" in line] == [1, 2, 3, 4, 5, 6]


def test_validation_is_one_pass_over_its_batches_with_the_state_carried(tmp_path: Path) -> None:
    """Kills: a fresh state for each batch; ignored targets in the mean; the training batches; batches past the end."""
    file = tmp_path / "documents.jsonl"
    file.write_text("".join(json.dumps({"text": f"{n} times {n} is {n * n}, " * 3}) + "\n" for n in range(60)))
    config = micro_config("data.source='path'", f"data.path='{file}'", "data.validation_fraction=0.3")
    source = open_source(config)
    model = AtlasModel(config.model, seed=4)
    with torch.no_grad():
        batches = [source.validation(index) for index in range(3)]
        tokens, targets, reset = (
            torch.cat(parts, dim=1) for parts in zip(*(b.tensors() for b in batches), strict=True)
        )
        logits = model(tokens, model.initial_state(tokens.shape[0]), reset).logits
    counted = targets != IGNORED
    assert not counted.all()
    expected = -logits.log_softmax(-1)[counted].gather(1, targets[counted].unsqueeze(1)).mean()
    found = evaluate(model, task_of(config.data), source, 3, "fp32")

    assert found["loss"] == pytest.approx(float(expected), rel=1e-5)
    assert found["tokens"] == int(counted.sum())
    assert found["accuracy"] == pytest.approx(float((logits.argmax(-1) == targets)[counted].double().mean()))
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))
    assert (
        evaluate(model, task_of(config.data), source, source.validation_batches + 5, "fp32")["tokens"] > found["tokens"]
    )


def test_accuracy_on_recall_is_the_share_of_right_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: accuracy over all positions, ignored ones included."""
    config = micro_config(*RECALL, "train.batch_size=8")
    source = open_source(config)
    real = AtlasModel.forward
    # Every fourth row gets its largest logit one token beside the answer.
    shift = (torch.arange(8) % 4 == 3).long().unsqueeze(1)
    answers = source.validation(0).targets.clamp(min=0) + shift

    def answer(model: AtlasModel, tokens: Tensor, state: ModelState, reset: Tensor | None, *_: object) -> ModelOutput:
        logits = nn.functional.one_hot(answers, config.model.vocab_size).float()
        return real(model, tokens, state, reset)._replace(logits=logits)

    monkeypatch.setattr(AtlasModel, "forward", answer)
    found = evaluate(AtlasModel(config.model, seed=0), task_of(config.data), source, 1, "fp32")

    assert found["accuracy"] == 0.75
    assert found["tokens"] == 8 * 4
