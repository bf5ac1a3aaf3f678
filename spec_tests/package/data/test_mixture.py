"""Several data sets are one source: drawn by the root of their sizes, with nothing trained on that is judged by.

Every test names the mistake that was put into the program by hand and that it caught.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from atlas_ref.data.adapters.row import Example
from atlas_ref.data.answer_rows import AnswerRows
from atlas_ref.data.drawing import Draw
from atlas_ref.data.mixture import is_validated
from atlas_ref.data.packing import Rows
from atlas_ref.data.streams import open_source
from atlas_ref.data.tokenizer import ByteTokenizer
from atlas_ref.errors import UserError
from spec_tests.package.data.answer_inputs import END, NOTHING, write_rows
from spec_tests.package.data.set_rows import changed
from spec_tests.package.micro.runs import micro_config

SHORT = "data.sequence_length=32"


def write(root: Path, name: str, rows: list[Any]) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    write_rows(root / name, rows)


def goals(first: int, count: int, label: int = 1) -> list[dict[str, Any]]:
    """Return rows of PIQA whose prompts are numbers."""
    return [
        changed("piqa", goal=f"goal {number}", sol1="no", sol2="yes", label=label)
        for number in range(first, first + count)
    ]


def sums(count: int) -> list[dict[str, Any]]:
    """Return rows of SVAMP."""
    return [
        changed("svamp", Body=f"{number} and", Question=f"{number}?", Answer=2.0 * number) for number in range(count)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A set with all splits, one without any, and one of which there is a test split alone."""
    write(tmp_path, "piqa/train.jsonl", [*goals(0, 40), *goals(40, 5, label=-1)])
    write(tmp_path, "piqa/valid.jsonl", goals(100, 7))
    write(tmp_path, "piqa/test.jsonl", goals(200, 30))
    write(tmp_path, "svamp.jsonl", sums(200))
    write(tmp_path, "boolq/test.jsonl", [changed("boolq", passage="never", question="never")])
    return tmp_path


def opened(folder: Path, *overrides: str) -> AnswerRows:
    source = open_source(micro_config("data.source='sets'", f"data.path='{folder}'", SHORT, *overrides))
    assert isinstance(source, AnswerRows)
    return source


def texts(rows: torch.Tensor) -> list[str]:
    """Return what stands in rows, without ends."""
    return [bytes(token for token in row if token != END).decode() for row in rows.tolist()]


def test_nothing_that_is_judged_by_is_trained_on_and_no_hidden_label_is_read(folder: Path) -> None:
    """Kills: a test split trained on or validated on; a validation split that is cut off and trained on; a goal without
    its label.
    """
    source = opened(folder)
    training = " ".join(texts(torch.from_numpy(source.training.tokens)))
    validation = " ".join(
        text for at in range(source.validation_batches) for text in texts(source.validation(at).tokens)
    )
    for text, low, high in ((training, 0, 40), (validation, 100, 107)):
        numbers = {int(part.split("\n")[0]) for part in text.split("goal ")[1:]}
        assert numbers == set(range(low, high))
    assert "never" not in training + validation
    asked = [
        {f"{number} and" for number in range(200) if f"{number} and\n{number}?" in text}
        for text in (training, validation)
    ]
    assert not asked[0] & asked[1]
    assert 10 <= len(asked[1]) <= 60


def test_a_set_without_splits_is_divided_by_its_prompts_whatever_the_seed() -> None:
    """Kills: the last rows, which are often of one kind; two answers to one prompt on both sides; a seed that moves
    what another run was validated on.
    """
    sides = [is_validated(Example(f"prompt {number}", "a", "a"), 0.25) for number in range(4000)]
    assert sum(sides) == pytest.approx(1000, abs=4 * np.sqrt(4000 * 0.25 * 0.75))
    assert sides == [is_validated(Example(f"prompt {number}", "b", "b"), 0.25) for number in range(4000)]
    assert len({is_validated(Example("", f"text {number}", ""), 0.5) for number in range(50)}) == 2


def test_sets_are_drawn_by_the_root_of_their_examples_and_their_rows_alike() -> None:
    """Kills: sets drawn by size or alike; rows counted where examples are; the first rows of a set only."""
    draw = Draw(3, 50, (4, 10), (100, 900))
    numbers = Counter(number for step in range(400) for number in draw.numbers(step).tolist())
    total = sum(numbers.values())
    assert set(numbers) == set(range(14))
    for number in range(14):
        share = 0.25 / 4 if number < 4 else 0.75 / 10
        assert numbers[number] == pytest.approx(total * share, abs=4.5 * np.sqrt(total * share))


def test_a_batch_is_a_function_of_the_seed_and_the_step(folder: Path) -> None:
    """Kills: a generator that is kept between calls; a seed that is not read."""
    one, again, other = opened(folder), opened(folder), opened(folder, "train.seed=9")
    for step in (7, 0, 3):
        assert all(map(torch.equal, one.batch(step).tensors(), again.batch(step).tensors()))
    assert not all(torch.equal(one.batch(step).tokens, other.batch(step).tokens) for step in range(4))
    assert all(map(torch.equal, one.validation(0).tensors(), other.validation(0).tensors()))
    assert one.identity == again.identity


def test_the_loss_is_on_the_answers_and_their_ends_alone(folder: Path) -> None:
    """Kills: targets on prompts or filling; no shift, or two."""
    for tokens, targets in zip(*(part.tolist() for part in opened(folder).batch(2)[:2]), strict=True):
        scored = bytes(target for target in targets if target not in (NOTHING, END)).decode()
        prompts = "".join(
            chr(token) for token, target in zip(tokens, targets, strict=True) if target == NOTHING and token != END
        )
        assert scored
        assert scored.replace("yes", "").strip("0123456789") == ""
        assert "goal" in prompts or "and" in prompts
        assert all(target in (NOTHING, following) for target, following in zip(targets, tokens[1:], strict=False))


def test_every_token_of_a_text_but_its_first_is_learned_once_across_pieces() -> None:
    """Kills: the token behind a piece lost; filling scored; the end of a text not learned."""
    rows = Rows.of_texts(["abcdefghij", "xy", "q"], ByteTokenizer(), 4, 2)
    assert sorted(rows.targets[rows.targets != NOTHING].tolist()) == sorted([*b"bcdefghij", END, *b"y", END, END])
    for tokens, targets in zip(rows.tokens.tolist(), rows.targets.tolist(), strict=True):
        for here, target, after in zip(tokens, targets, tokens[1:], strict=False):
            assert target in (NOTHING, after)
            assert here != END or target == NOTHING


def test_a_run_says_what_each_set_gives_and_what_is_left_out(folder: Path) -> None:
    long = [{"question": "q", "answer": "x" * 40 + "\n#### 1"}]
    write(folder, "gsm8k/train.jsonl", long)
    (folder / "notes.txt").write_text("x")
    said = [f"{fact.label}: {fact.text}" for fact in opened(folder).facts]
    assert "sets: gsm8k: 0.0% of the rows; 0 to train on, 0 to validate on" in said
    assert any(text.startswith("sets: piqa:") and text.endswith("40 to train on, 7 to validate on") for text in said)
    assert "skipped: gsm8k: 1 example, whose answer is longer than a row" in said
    assert "skipped: piqa: 5 rows, label not published" in said
    assert "not read: notes.txt (ends in .txt)" in said


def test_a_folder_with_nothing_to_train_on_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="holds nothing to train on: test and validation splits are judged by"):
        opened(folder / "boolq")


def test_sets_of_which_no_answer_fits_are_refused_by_the_rows_that_they_fill(tmp_path: Path) -> None:
    """Kills: an error of numpy over sets that are all empty; a draw from nothing."""
    write(tmp_path, "gsm8k/train.jsonl", [{"question": f"{at}", "answer": "x" * 40 + "\n#### 1"} for at in range(30)])
    with pytest.raises(
        UserError, match=r"its training part fills 0 rows of 32 tokens, and \d are needed \(\d\d of its \d\d"
    ):
        opened(tmp_path)
