"""Batches of answers: functions of the seed and the step, every row once a round, every validation row once."""

from pathlib import Path

import numpy as np
import pytest
import torch

from atlas_ref.data.answer_rows import AnswerRows, open_answers
from atlas_ref.data.batch import BatchSource
from atlas_ref.data.streams import open_source
from atlas_ref.errors import UserError
from spec_tests.package.data.answer_inputs import END, NOTHING, answer_config, shared_file, sums, write_rows


def opened(folder: Path, *overrides: str) -> AnswerRows:
    file = write_rows(folder / "sums.jsonl", sums(60))
    source = open_source(answer_config(file, *overrides))
    assert isinstance(source, AnswerRows)
    assert isinstance(source, BatchSource)
    return source


def rows_in(source: AnswerRows, steps: range) -> list[bytes]:
    return [row.numpy().tobytes() for step in steps for row in source.batch(step).tokens]


def test_a_batch_depends_on_seed_and_step_alone(tmp_path: Path) -> None:
    one, again, other = (opened(tmp_path, f"train.seed={seed}") for seed in (5, 5, 6))
    for step in (9, 0, 31):
        assert all(map(torch.equal, one.batch(step).tensors(), again.batch(step).tensors()))
    assert rows_in(one, range(6)) != rows_in(other, range(6))


@pytest.mark.parametrize("batch_size", [2, 3, 5])
def test_every_round_has_every_row_once_and_an_order_of_its_own(batch_size: int, tmp_path: Path) -> None:
    source = opened(tmp_path, f"train.batch_size={batch_size}")
    size = len(source.training.tokens)
    seen = rows_in(source, range(3 * size))[: 3 * size]
    rounds = [seen[start : start + size] for start in range(0, 3 * size, size)]
    assert len(set(seen)) == size
    assert all(len(set(found)) == size for found in rounds)
    assert rounds[0] != rounds[1] != rounds[2]


def test_validation_reads_every_row_once_for_every_seed(tmp_path: Path) -> None:
    """The last of eight batches of four rows is filled up with rows in which nothing is scored."""
    shape = ("train.batch_size=4", "data.validation_fraction=0.5", "data.sequence_length=24")
    one, other = (opened(tmp_path, f"train.seed={seed}", *shape) for seed in (1, 2))
    batches = [one.validation(index) for index in range(one.validation_batches)]
    scored = [
        row.numpy().tobytes()
        for batch in batches
        for row, target in zip(batch[0], batch[1], strict=True)
        if (target != NOTHING).any()
    ]
    ends = sum(int((batch.targets == END).sum()) for batch in batches)
    assert len(scored) == len(set(scored)) < 4 * len(batches)
    assert ends == 30
    assert all(
        torch.equal(part, same)
        for part, same in zip(batches[-1].tensors(), other.validation(len(batches) - 1).tensors(), strict=True)
    )
    with pytest.raises(ValueError, match="does not exist"):
        one.validation(one.validation_batches)


def test_memory_begins_afresh_with_every_example_or_with_every_context(tmp_path: Path) -> None:
    usual = opened(tmp_path, "data.context_batches=3")
    kept = opened(tmp_path, "data.context_batches=3", "data.reset_memory_per_sequence=false")
    for step in range(7):
        batch, none = usual.batch(step), kept.batch(step)
        after_an_end = torch.nn.functional.pad(batch.tokens[:, :-1] == END, (1, 0), value=True)
        assert torch.equal(batch.reset, after_an_end & (batch.tokens != END))
        assert none.reset.any() == (step % 3 == 0)
        assert not none.reset[:, 1:].any()


def test_a_run_says_what_it_cuts_and_skips(tmp_path: Path) -> None:
    rows = [
        *sums(20),
        {"question": "x" * 40, "answer": "y"},
        {"question": "q", "answer": "z" * 31},
        {"question": "", "answer": 1},
    ]
    source = open_answers(answer_config(write_rows(tmp_path / "rows.jsonl", [*rows, *sums(2)])))
    said = {fact.label: fact.text for fact in source.facts}
    assert said["answers"] == "21 to train on, 2 to validate on"
    assert said["cut"] == "1 prompt at the beginning, so that the answer fits in a row"
    assert said["skipped"] == "1 example, whose answer is longer than a row"
    assert said["empty"] == "1 example with a blank prompt or answer, skipped"
    assert said["twice"] == "2 examples more than once, whichever part they are in"


def test_answers_too_few_or_too_long_for_a_batch_are_refused(tmp_path: Path) -> None:
    few = write_rows(tmp_path / "few.jsonl", sums(8))
    with pytest.raises(UserError, match=r"its training part fills \d rows of 32 tokens, and 9 are needed \(0 of its 7"):
        open_answers(answer_config(few, "train.batch_size=9"))
    long = write_rows(tmp_path / "long.jsonl", [*sums(20), {"question": "q", "answer": "z" * 40}])
    with pytest.raises(UserError, match=r"its validation part fills 0 rows .*\(1 of its 1 answers are longer"):
        open_answers(answer_config(long, "data.validation_fraction=0.01"))


def test_bytes_of_prompt_and_answer_never_share_a_token(tmp_path: Path) -> None:
    """The one byte pair that is trained, `==`, stands where a prompt and its answer meet."""
    pytest.importorskip("tokenizers")
    rows = [{"question": f"{number % 3}=", "answer": f"={number % 3}"} for number in range(300)]
    bpe = ("data.tokenizer='bpe'", "data.bpe_vocab_size=258", "model.vocab_size=258", "data.answers.joint=''")
    source = open_answers(answer_config(write_rows(tmp_path / "rows.jsonl", rows), *bpe))
    assert source.tokenizer is not None
    batch = source.batch(0)
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        first = targets.index(next(target for target in targets if target != NOTHING))
        assert source.tokenizer.token_bytes(tokens[first]).endswith(b"=")
        assert source.tokenizer.token_bytes(targets[first]).startswith(b"=")


def test_every_answer_of_the_grade_school_problems_is_scored_whole() -> None:
    file = shared_file("gsm8k_test.jsonl")
    if file is None:
        pytest.skip("gsm8k_test.jsonl does not lie beside the project")
    source = open_answers(answer_config(file, "data.sequence_length=512"))
    rows = source.training
    assert rows.counts.examples == 1187
    said = [bytes(row[row != NOTHING][:-1].clip(max=255).astype(np.uint8)) for row in rows.targets]
    assert sum(int((row == END).sum()) for row in rows.targets) == 1187 - rows.counts.skipped
    assert all(b"#### " in text for text in said)
    assert not any(b"?" in text for text in said[:5])
