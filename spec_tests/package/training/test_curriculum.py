"""A curriculum: which sets a step reads, that its borders are said and logged, and that runs go on over them.

Every test names the mistake that was put into the program by hand and that it caught.
"""

import math
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from atlas_ref.config import load_config
from atlas_ref.config.curriculum import STAGES
from atlas_ref.data.adapters.row import Example
from atlas_ref.data.adapters.table import SETS
from atlas_ref.data.drawing import Course, Draw
from atlas_ref.data.mixture import SetRows
from atlas_ref.data.streams import open_source
from atlas_ref.errors import UserError
from atlas_ref.judging.examination import some_of
from atlas_ref.models.family import Model
from atlas_ref.processes.distributed import World
from atlas_ref.storage.checkpoint import find_checkpoint, saved_steps
from atlas_ref.training.run import load_model
from spec_tests.package.micro.curriculum import LENGTH, curriculum_config, write_sets
from spec_tests.package.micro.runs import (
    Listener,
    go_on,
    metric_lines,
    saved_bytes,
    start,
    stop_before,
    without_timing,
)

FIRST = ("gsm8k", "svamp", "mbpp", "arc_easy", "piqa", "wikitext")
SECOND = (*FIRST, "asdiv", "arc_challenge", "boolq", "strategyqa")
END = 256


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sets(tmp_path_factory.mktemp("downloads"))


@pytest.fixture(scope="module")
def listener() -> Listener:
    return Listener()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, folder: Path, listener: Listener) -> Path:
    """Return the directory of a run of three stages, of which `listener` was told."""
    path = tmp_path_factory.mktemp("curriculum") / "run"
    start(curriculum_config(folder), path, reporter=listener)
    return path


def test_the_preset_reads_six_ten_and_fourteen_sets_in_the_epochs_of_the_source() -> None:
    """Kills: a border one epoch early or late; epochs counted from 0; a set in another stage."""
    plan = load_config("cognate-curriculum").data.curriculum
    last = [epoch * plan.epoch_steps - 1 for epoch in range(1, 11)]
    first = [step - plan.epoch_steps + 1 for step in last]
    assert [plan.stage(step) for step in first] == [plan.stage(step) for step in last] == [1] * 3 + [2] * 3 + [3] * 4
    assert load_config("cognate-curriculum").train.max_steps == 10 * plan.epoch_steps
    names = tuple(each.name for each in SETS)
    course = Course.of(plan, names, Draw(0, 50, (3,) * 14, (9,) * 14))
    read = [{names[number // 3] for step in range(20) for number in draw.numbers(step)} for draw in course.draws]
    assert read == [set(FIRST), set(SECOND), set(names)]
    assert sum(map(len, STAGES.values())) == len(names) == 14


def test_a_stage_draws_its_sets_by_the_roots_of_their_examples_and_no_other() -> None:
    """Kills: shares of all sets; a set of a later stage; the draw of the stage before."""
    plan = load_config("cognate-curriculum", ["data.curriculum.epoch_steps=40"]).data.curriculum
    course = Course.of(plan, ("gsm8k", "boolq", "drop"), Draw(3, 40, (4, 10, 5), (400, 900, 1600)))
    for epochs, shares in ((range(3), (1, 0, 0)), (range(3, 6), (0.4, 0.6, 0)), (range(6, 10), (2 / 9, 3 / 9, 4 / 9))):
        steps = [step for epoch in epochs for step in range(40 * epoch, 40 * epoch + 40)]
        drawn = Counter(
            int(np.searchsorted((4, 14, 19), number, side="right")) for s in steps for number in course.numbers(s)
        )
        total = 40 * len(steps)
        for at, share in enumerate(shares):
            assert drawn[at] == pytest.approx(total * share, abs=4.5 * math.sqrt(total * share * (1 - share)))


def test_the_borders_are_said_with_what_is_absent_and_logged_at_their_first_step(
    trained: Path, listener: Listener
) -> None:
    """Kills: a stage that nobody is told of; one that is logged a step late; a set called absent that is there."""
    said = [line for line in listener.said if line.startswith("curriculum: ")]
    assert said == [
        "curriculum: stage 1, foundation, from step 1 (epoch 1): 3 of its 6 sets, gsm8k, mbpp, wikitext; absent: "
        "svamp, arc_easy, piqa",
        "curriculum: stage 2, reasoning, from step 3 (epoch 2): 4 of its 10 sets, gsm8k, mbpp, wikitext, boolq; "
        "absent: svamp, arc_easy, piqa, asdiv, arc_challenge, strategyqa",
        "curriculum: stage 3, advanced, from step 5 (epoch 3): 6 of its 14 sets, gsm8k, mbpp, wikitext, boolq, drop, "
        "hellaswag; absent: svamp, arc_easy, piqa, asdiv, arc_challenge, strategyqa, codexglue, hotpotqa",
    ]
    stages = {line["step"]: line.get("train/curriculum_stage") for line in metric_lines(trained)}
    assert stages == {1: 1.0, 2: None, 3: 2.0, 4: None, 5: 3.0, 6: 3.0}
    assert [line["train/epoch"] for line in metric_lines(trained) if "train/epoch" in line] == [1.0, 2.0, 3.0, 3.0]


@pytest.mark.parametrize(
    ("cuts", "judged"), [((4,), 0), ((3, 5), 2)], ids=["inside a stage, judged no more", "at both borders"]
)
def test_a_run_that_stops_goes_on_bit_for_bit_inside_a_stage_and_over_its_border(
    tmp_path: Path, folder: Path, trained: Path, cuts: tuple[int, ...], judged: int
) -> None:
    """Weights, moments, states and the log. Kills: a stage counted from the start of the process; a draw that goes on
    from the last one; a judgement that moves what is trained.
    """
    config = curriculum_config(folder)
    start(config, tmp_path / "cut", stop_before(cuts[0]))
    for before, cut in pairwise(cuts):
        go_on(config, tmp_path / "cut", stop=stop_before(cut - before + 1))
    assert go_on(curriculum_config(folder, f"data.curriculum.judged={judged}"), tmp_path / "cut").step == 6
    assert saved_bytes(tmp_path / "cut") == saved_bytes(trained)
    lines = [without_timing(metric_lines(path)) for path in (trained, tmp_path / "cut")]
    if not judged:
        lines = [without_epochs(each, after=3) for each in lines]
    assert lines[0] == lines[1]


def without_epochs(lines: list[dict[str, Any]], after: int) -> list[dict[str, Any]]:
    """Return lines of a log without what epochs end with behind a step, and without those that are empty then."""
    kept = (
        {key: value for key, value in line.items() if line["step"] <= after or not key.startswith("epoch/")}
        for line in lines
    )
    return [line for line in kept if line.keys() != {"step"}]


def test_a_resumed_run_cannot_move_its_borders(folder: Path, trained: Path) -> None:
    with pytest.raises(UserError, match=r"a resumed run cannot change data\.curriculum\.advanced_epoch from 3 to 4"):
        go_on(curriculum_config(folder, "data.curriculum.advanced_epoch=4"), trained)


def row_alone(model: Model, prompt: str, answer: str, step: int) -> list[float]:
    """Return log p of each byte of an answer and of its end; without a prompt, of all but the first byte."""
    said = [*answer.encode(), END]
    given = [*(prompt + "\n").encode()][-(LENGTH - len(said)) :] if prompt else [said.pop(0)]
    with torch.no_grad():
        logits = model(torch.tensor([[*given, *said]]), model.initial_state(1), None, step).logits[0]
    scores = logits.double().log_softmax(-1)
    return [float(scores[len(given) - 1 + at, token]) for at, token in enumerate(said)]


def test_an_epoch_ends_with_the_loss_and_accuracy_of_what_the_model_says(
    trained: Path, folder: Path, listener: Listener
) -> None:
    """Beside a loop that reads each example alone, with the weights that were saved there. Kills: a constant; the loss
    of the training batch; prompts scored; choices compared by their sum; the sets of the stage alone.
    """
    source = open_source(curriculum_config(folder))
    assert isinstance(source, SetRows)
    lines = {line["step"]: line for line in metric_lines(trained) if "epoch/number" in line}
    assert [(line["step"], line["epoch/number"], line["epoch/curriculum_stage"]) for line in lines.values()] == [
        (2, 1.0, 1.0),
        (4, 2.0, 2.0),
        (6, 3.0, 3.0),
    ]
    for step, path in saved_steps(trained / "checkpoints").items():
        model, line = load_model(find_checkpoint(path), torch.device("cpu")), lines[step]
        right: list[bool] = []
        nats: list[float] = []
        for name, examples in source.asked.items():
            for example in some_of(examples, 2):
                nats += row_alone(model, example.prompt, example.answer, step)
                if name == "hellaswag":
                    right.append(best_choice(model, example, step) == example.right)
        assert line["epoch/val_loss"] == pytest.approx(-sum(nats) / len(nats), rel=1e-4)
        assert line["epoch/val_perplexity"] == pytest.approx(math.exp(line["epoch/val_loss"]))
        assert line["epoch/accuracy/commonsense"] == sum(right) / 2
        assert line["epoch/examples/commonsense"] == 2
        for domain, count in {"math": 2, "code": 2, "qa": 2, "reasoning": 2, "language": 2}.items():
            assert line[f"epoch/examples/{domain}"] == count
            assert 0.0 <= line[f"epoch/accuracy/{domain}"] <= 1.0
    assert len({line["epoch/val_loss"] for line in lines.values()}) == 3
    assert sum(line.startswith("epoch ") for line in listener.said) == 3


def best_choice(model: Model, example: Example, step: int) -> int:
    """Return the choice with the highest mean log p."""
    means = []
    for choice in example.choices:
        found = row_alone(model, example.prompt, choice, step)
        means.append(sum(found) / len(found))
    return max(range(len(means)), key=means.__getitem__)


def test_what_is_absent_and_what_each_stage_draws_is_said_before_a_run(folder: Path) -> None:
    source = open_source(curriculum_config(folder))
    said = [f"{fact.label}: {fact.text}" for fact in source.facts]
    absent = "svamp, asdiv, codexglue, arc_easy, arc_challenge, strategyqa, hotpotqa, piqa"
    assert [line for line in said if line.startswith("absent")] == [f"absent: {absent}"]
    (boolq,) = [line for line in said if line.startswith("sets: boolq")]
    assert boolq.startswith("sets: boolq: 0.0%, ")
    assert ", 0.0%" not in boolq
    assert "of the rows in the stages" in boolq


def test_validation_begins_with_rows_of_several_sets(folder: Path) -> None:
    """Kills: rows set by set, of which a bounded validation would see the first set alone."""
    source = open_source(curriculum_config(folder, "train.batch_size=4"))
    seen = b"".join(bytes(x for x in source.validation(at).tokens.flatten().tolist() if x < 256) for at in range(4))
    assert sum(word in seen for word in (b" and 1?", b"add ", b" = T", b"she has", b" is even", b"A has")) >= 3


def test_a_curriculum_needs_sets_to_begin_with_and_a_folder(folder: Path, tmp_path: Path) -> None:
    """Kills: a first stage that draws from nothing; a sentence that leaves a reader without anything to train on."""
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "boolq.jsonl").write_text((folder / "boolq.jsonl").read_text())
    with pytest.raises(UserError, match=r"holds nothing to train on of gsm8k, svamp, mbpp, arc_easy, piqa, wikitext"):
        open_source(curriculum_config(alone))
    open_source(curriculum_config(alone, "data.curriculum.epoch_steps=0"))
    with pytest.raises(UserError, match=r"nothing downloads .*Without any, tiny and most presets train on the shipped"):
        open_source(curriculum_config(tmp_path / "nowhere"))


def test_shards_of_a_model_are_not_judged(folder: Path) -> None:
    """Kills: a judgement that reads parameters which are in another process."""
    config = curriculum_config(folder, "train.parallel='fsdp'", "optim.name='adamw'")
    two = World(rank=0, size=2, local_rank=0)
    with pytest.raises(
        UserError, match=r'is "fsdp", which holds the model in shards, and data\.curriculum\.judged is 2'
    ):
        two.check(config)
    two.check(curriculum_config(folder, "train.parallel='fsdp'", "optim.name='adamw'", "data.curriculum.judged=0"))


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (
            ("data.curriculum.reasoning_epoch=5",),
            "data.curriculum.advanced_epoch is 3; it must be at least data.curriculum.reasoning_epoch, which is 5",
        ),
        (
            ("data.source='shakespeare'", "data.path=''"),
            'data.curriculum.epoch_steps is 2; it must be 0 for data.source = "shakespeare", which has no sets',
        ),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(overrides: tuple[str, ...], reason: str) -> None:
    with pytest.raises(UserError) as caught:
        curriculum_config(Path("downloads"), *overrides)
    assert reason in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
