"""Prompts with answers are learned and judged by their answers alone, by the one loop."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from atlas_ref.data.batch import Batch
from atlas_ref.data.streams import open_source
from atlas_ref.errors import UserError
from atlas_ref.models.family import Telemetry
from atlas_ref.storage.checkpoint import find_checkpoint
from atlas_ref.tasks.answers import Answering, AnswerMeter, whole_answers
from atlas_ref.tasks.registry import task_of
from spec_tests.package.data.answer_inputs import NOTHING, answer_config, sums, write_rows
from spec_tests.package.micro.runs import go_on, metric_lines, saved_bytes, start, stop_before, without_timing

TARGETS = torch.tensor(
    [
        [NOTHING, 3, 1, NOTHING, 2, NOTHING, NOTHING],
        [4, 0, NOTHING, NOTHING, NOTHING, 1, 1],
        [2, NOTHING, 0, 3, 3, NOTHING, NOTHING],
    ]
)
"""Six answers, one that begins a row behind one that ends the row before."""


class Said(NamedTuple):
    """Logits without a model behind them (Output)."""

    logits: Tensor
    state: None = None
    telemetry: tuple[Telemetry, ...] = ()
    indecision: Tensor | None = None


def outcome(seed: int) -> tuple[Said, Batch]:
    """Return random logits, right at every target of four answers and wrong at one place of the other two."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(3, 7, 5))
    right = np.where(TARGETS == NOTHING, random.integers(5, size=(3, 7)), TARGETS)
    right[0, 2], right[1, 6] = 4, 0
    np.put_along_axis(logits, right[..., None], 9.0, axis=2)
    batch = Batch(torch.zeros(3, 7, dtype=torch.int64), TARGETS, torch.zeros(3, 7, dtype=torch.bool))
    return Said(torch.from_numpy(logits)), batch


def by_hand(logits: NDArray[np.float64], targets: NDArray[np.int64]) -> tuple[float, int, int]:
    """Return summed loss, right targets and targets, place by place."""
    loss, right, count = 0.0, 0, 0
    for row, wanted in zip(logits, targets, strict=True):
        for place, target in zip(row, wanted, strict=True):
            if target != NOTHING:
                loss -= float(place[target] - np.log(np.exp(place).sum()))
                right += int(place.argmax() == target)
                count += 1
    return loss, right, count


def test_loss_and_accuracy_are_those_of_the_answers_place_by_place() -> None:
    output, batch = outcome(1)
    loss, right, count = by_hand(output.logits.numpy(), TARGETS.numpy())
    meter = AnswerMeter(None)
    meter.add(output, batch)
    found = meter.metrics(meter.sums())
    assert (count, right) == (11, 9)
    assert float(Answering().loss(output, batch)) == pytest.approx(loss, rel=1e-12)
    assert int(Answering().count(batch)) == 11
    assert found["loss"] == pytest.approx(loss / 11, rel=1e-12)
    assert (found["accuracy"], found["tokens"]) == (9 / 11, 11)


def test_an_answer_is_right_when_every_token_of_it_is() -> None:
    output, batch = outcome(2)
    meter = AnswerMeter(None)
    for _ in range(2):
        meter.add(output, batch)
    found = meter.metrics(meter.sums())
    assert (found["answer_accuracy"], found["answers"]) == (4 / 6, 12)


def test_what_is_said_where_nothing_is_scored_changes_no_judgement() -> None:
    """Kills: accuracy, loss or answers counted over prompts and filling."""
    output, batch = outcome(3)
    other = torch.where((TARGETS == NOTHING)[..., None], output.logits.roll(1, -1) * 3.0, output.logits)
    judged = []
    for logits in (output.logits, other):
        meter = AnswerMeter(None)
        meter.add(output._replace(logits=logits), batch)
        judged.append(meter.sums())
    assert judged[0] == judged[1]


def test_a_row_without_an_answer_counts_none() -> None:
    nothing = torch.full((2, 3), NOTHING)
    assert whole_answers(torch.zeros(2, 3, dtype=torch.int64), nothing) == (0.0, 0.0)


def test_prompts_and_filling_have_no_part_in_the_gradient_of_the_logits() -> None:
    output, batch = outcome(4)
    logits = output.logits.requires_grad_()
    torch.autograd.backward(Answering().loss(output._replace(logits=logits), batch))
    assert logits.grad is not None
    assert torch.equal((logits.grad != 0).any(-1), TARGETS != NOTHING)


def test_a_run_on_answers_goes_on_bit_for_bit_and_logs_whole_answers(tmp_path: Path) -> None:
    config = answer_config(write_rows(tmp_path / "sums.jsonl", sums(60)), "train.max_steps=6")
    start(config, tmp_path / "whole")
    start(config, tmp_path / "parts", stop_before(4))
    go_on(config, tmp_path / "parts")
    assert saved_bytes(tmp_path / "whole") == saved_bytes(tmp_path / "parts")
    lines = metric_lines(tmp_path / "whole")
    assert without_timing(lines) == without_timing(metric_lines(tmp_path / "parts"))
    assert 0.0 <= lines[-1]["val/answer_accuracy"] <= 1.0


@pytest.mark.parametrize(
    "change",
    ["data.answers.prompt_key='answer'", "data.answers.answer_key='question'", "data.answers.joint=' '"],
)
def test_a_run_does_not_go_on_with_other_fields(change: str, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "sums.jsonl", sums(60))
    start(answer_config(file), tmp_path / "run", stop_before(2))
    with pytest.raises(UserError, match=r"a resumed run cannot change data\.answers"):
        go_on(answer_config(file, change), tmp_path / "run")
    kept = find_checkpoint(tmp_path / "run").data
    assert kept.other_text(open_source(answer_config(file, change)).identity) == "another key holds the text"


def test_a_run_does_not_go_on_with_another_answer(tmp_path: Path) -> None:
    rows = sums(60)
    config = answer_config(write_rows(tmp_path / "sums.jsonl", rows))
    start(config, tmp_path / "run", stop_before(2))
    rows[-1]["answer"] = 7.0
    write_rows(tmp_path / "sums.jsonl", rows)
    with pytest.raises(UserError, match=r"changed: sums\.jsonl"):
        go_on(config, tmp_path / "run")


def test_each_source_of_data_has_a_task(tmp_path: Path) -> None:
    config = answer_config(write_rows(tmp_path / "sums.jsonl", sums(60)))
    assert isinstance(task_of(config.data), Answering)
