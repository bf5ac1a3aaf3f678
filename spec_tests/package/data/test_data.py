"""Streams: rows that continue from step to step, and validation text that is never trained on."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from atlas_ref.config import load_config
from atlas_ref.data.batch import IGNORED, Batch
from atlas_ref.data.corpus import read_corpus
from atlas_ref.data.streams import open_source, split_texts
from atlas_ref.data.tokenizer import decode
from spec_tests.package.micro.data_inputs import KEY, text_config, write_documents

SEPARATOR = 256


def joined(batches: list[Batch]) -> Batch:
    """Consecutive batches as one long one."""
    tokens, targets, reset = (torch.cat(parts, dim=1) for parts in zip(*(b.tensors() for b in batches), strict=True))
    return Batch(tokens, targets, reset)


def walk_of_ring(texts: list[str], grid: int) -> tuple[list[int], list[bool]]:
    """Token by token: the ring of some documents, and where they start."""
    tokens: list[int] = []
    starts: list[bool] = []
    for text in texts:
        first = True
        for byte in text.encode():
            tokens.append(byte)
            starts.append(first)
            first = False
        tokens.append(SEPARATOR)
        starts.append(False)
        while len(tokens) % grid:
            tokens.append(SEPARATOR)
            starts.append(False)
    return tokens, starts


@pytest.mark.parametrize("per_sequence", [True, False])
@pytest.mark.parametrize("grid", [8, 1])
def test_each_row_walks_the_ring_of_documents_from_its_own_offset(
    tmp_path: Path, grid: int, per_sequence: bool
) -> None:
    """A context is 5 batches of 24 tokens; documents begin afresh in it with `reset_memory_per_sequence` only.

    With chunks of 8 a row is 3 chunks and documents fill chunks; with chunks of 7 they follow each other closely.
    """
    path = write_documents(tmp_path)
    resets = f"data.reset_memory_per_sequence={str(per_sequence).lower()}"
    config = text_config(path, f"model.memory.chunk={8 if grid == 8 else 7}", "train.seed=3", resets)
    source = open_source(config)
    tokens, starts = walk_of_ring(split_texts(read_corpus(path, KEY).documents, 0.2)[0], grid)
    steps = len(tokens) // 24 + 3
    walked = joined([source.batch(step) for step in range(steps)])

    for row in range(3):
        matching = [
            offset
            for offset in range(0, len(tokens), grid)
            if [tokens[(offset + t) % len(tokens)] for t in range(48)] == walked.tokens[row, :48].tolist()
        ]
        assert len(matching) == 1
        for t in range(steps * 24):
            here, after = (matching[0] + t) % len(tokens), (matching[0] + t + 1) % len(tokens)
            assert walked.tokens[row, t] == tokens[here]
            assert walked.targets[row, t] == (IGNORED if tokens[here] == SEPARATOR else tokens[after])
            assert walked.reset[row, t] == ((starts[here] and per_sequence) or t % (5 * 24) == 0)


def test_the_ring_is_long_enough_in_the_walk_to_close(tmp_path: Path) -> None:
    """The walk above is no proof of the closing of the ring unless some row passes it."""
    path = write_documents(tmp_path)
    source = open_source(text_config(path, "train.seed=3", "data.context_batches=1000"))
    tokens, _ = walk_of_ring(split_texts(read_corpus(path, KEY).documents, 0.2)[0], 8)
    around = joined([source.batch(step) for step in range(1, len(tokens) // 24 + 2)])

    documents = len(split_texts(read_corpus(path, KEY).documents, 0.2)[0])
    assert int(around.reset[0, : len(tokens)].sum()) == documents


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
def test_rows_start_in_different_parts_and_never_share_a_position_in_a_batch(tmp_path: Path, seed: int) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    text = "".join(chr(0x4E00 + position) for position in range(400))
    (folder / "a.txt").write_text(text)
    source = open_source(text_config(str(folder), f"train.seed={seed}", "train.batch_size=5"))
    rows = [set(zip(*[source.batch(2).tokens[row].tolist()[i:] for i in range(3)], strict=False)) for row in range(5)]

    assert all(rows[a].isdisjoint(rows[b]) for a in range(5) for b in range(a))


def test_resets_fall_on_chunk_borders_when_rows_are_whole_chunks(tmp_path: Path) -> None:
    source = open_source(text_config(write_documents(tmp_path)))
    walked = joined([source.batch(step) for step in range(120)])
    places = walked.reset.nonzero()[:, 1]

    assert len(places) > 30
    assert (places % 8 == 0).all()


def test_every_row_has_something_to_learn(tmp_path: Path) -> None:
    """Documents of one letter, and chunks longer than a row: padding must not fill a row."""
    path = tmp_path / "letters.jsonl"
    path.write_text('{"text": "x"}\n' * 500)
    for chunk in (1, 8, 24, 64):
        source = open_source(text_config(str(path), f"model.memory.chunk={chunk}"))

        assert all((source.batch(step).targets != IGNORED).any(dim=1).all() for step in range(20))


@pytest.mark.parametrize("preset", ["tiny", "recall"])
def test_a_batch_depends_on_seed_and_step_alone(preset: str) -> None:
    def batch(seed: int, step: int, *before: int) -> torch.Tensor:
        source = open_source(load_config(preset, [f"train.seed={seed}"]))
        for earlier in before:
            source.batch(earlier)
        return source.batch(step).tokens

    assert torch.equal(batch(1, 7), batch(1, 7, 3, 9, 0))
    assert not torch.equal(batch(1, 7), batch(2, 7))
    assert not torch.equal(batch(1, 7), batch(1, 8))


@pytest.mark.parametrize("preset", ["tiny", "recall"])
def test_validation_is_the_same_for_every_seed_and_differs_from_training(preset: str) -> None:
    first, second = (open_source(load_config(preset, [f"train.seed={seed}"])) for seed in (0, 5))

    for index in range(3):
        assert all(
            torch.equal(a, b)
            for a, b in zip(first.validation(index).tensors(), second.validation(index).tensors(), strict=True)
        )
    assert not torch.equal(first.validation(0).tokens, first.validation(1).tokens)
    assert not torch.equal(first.validation(0).tokens, first.batch(0).tokens)


@given(st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=8), st.floats(0.01, 0.99))
def test_training_and_validation_text_are_the_whole_text_cut_once(texts: list[str], fraction: float) -> None:
    training, validation = split_texts(texts, fraction)

    assert "".join(training) + "".join(validation) == "".join(texts)
    assert abs(len("".join(validation)) - fraction * len("".join(texts))) <= 0.5 + 1e-9
    assert "" not in training + validation


def test_validation_rows_read_the_validation_text_once_and_training_never_does(tmp_path: Path) -> None:
    """A text of characters that occur once each, so that a character tells its place."""
    path = tmp_path / "unique.txt"
    path.write_text("".join(chr(0x4E00 + place) for place in range(1000)))
    source = open_source(text_config(str(path), "data.context_batches=1000"))
    learnt = joined([source.batch(step) for step in range(120)]).tokens
    checked = joined([source.validation(index) for index in range(source.validation_batches)])
    assert source.tokenizer is not None
    seen = [decode(source.tokenizer, row.tolist()).replace("\ufffd", "") for row in checked.tokens]
    trained = {c for row in learnt for c in decode(source.tokenizer, row.tolist())}

    assert trained - {"\ufffd"} == {chr(0x4E00 + place) for place in range(800)}
    assert all(place >= chr(0x4E00 + 800) for row in seen for place in row)
    assert len("".join(seen)) == len(set("".join(seen))) > 180
    assert checked.reset.nonzero()[:, 1].tolist() == [0] * len(seen)


def test_validation_rows_continue_from_batch_to_batch(tmp_path: Path) -> None:
    path = tmp_path / "unique.txt"
    path.write_text("".join(chr(0x4E00 + place) for place in range(1000)))
    source = open_source(text_config(str(path)))
    first, second = source.validation(0), source.validation(1)

    assert torch.equal(first.targets[:, -1], second.tokens[:, 0])
    assert not second.reset.any()


def test_a_validation_batch_beyond_the_last_does_not_exist() -> None:
    source = open_source(load_config("tiny"))

    with pytest.raises(ValueError, match=f"there are {source.validation_batches}"):
        source.validation(source.validation_batches)


def test_little_validation_text_gives_fewer_rows(tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_text("abcdefgh" * 25)
    source = open_source(text_config(str(path)))

    assert source.batch(0).tokens.shape == (3, 24)
    assert source.validation(0).tokens.shape == (2, 24)
