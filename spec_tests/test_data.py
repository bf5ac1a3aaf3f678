"""Data: streams that continue from step to step, recall beyond the window, exact tokenizers, refused files."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from atlas_ref.config import RunConfig, load_config
from atlas_ref.data.batch import IGNORED, Batch
from atlas_ref.data.build_shakespeare import plain_text
from atlas_ref.data.corpus import read_texts, shipped_texts
from atlas_ref.data.recall import recall_accuracy
from atlas_ref.data.streams import open_source, split_texts
from atlas_ref.data.tokenizer import (
    BPETokenizer,
    ByteTokenizer,
    StreamDecoder,
    Tokenizer,
    decode,
    tokenizer_from_json,
)
from atlas_ref.errors import UserError

SEPARATOR = 256
SENTENCES = ["It was the best of times, it was the worst of times; ", "naïve café, 東京 🎭, ", "a\r\n\tb\x0b\f "]


def write_documents(folder: Path, count: int = 23) -> str:
    """The path of a JSONL file of documents of many lengths, shorter and longer than a row."""
    random = np.random.default_rng(5)
    lengths = random.integers(1, 400, size=count)
    texts = ["".join(chr(97 + int(letter)) for letter in random.integers(26, size=length)) for length in lengths]
    path = folder / "documents.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(path)


def text_config(path: str, *overrides: str) -> RunConfig:
    """`tiny` on a file, with rows and chunks small enough for many documents, wraps and steps."""
    shape = ["data.sequence_length=24", "train.batch_size=3", "model.memory.chunk=8", "data.validation_fraction=0.2"]
    return load_config("tiny", ["data.source=path", f"data.path={json.dumps(path)}", *shape, *overrides])


def joined(batches: list[Batch]) -> Batch:
    """Consecutive batches as one long one."""
    return Batch(*(torch.cat(parts, dim=1) for parts in zip(*batches, strict=True)))


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


@pytest.mark.parametrize("grid", [8, 1])
def test_each_row_walks_the_ring_of_documents_from_its_own_offset(tmp_path: Path, grid: int) -> None:
    """With chunks of 8 a row is 3 chunks and documents fill chunks; with chunks of 7 they follow each other closely."""
    path = write_documents(tmp_path)
    config = text_config(path, f"model.memory.chunk={8 if grid == 8 else 7}", "train.seed=3")
    source = open_source(config)
    tokens, starts = walk_of_ring(split_texts(read_texts(path), 0.2)[0], grid)
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
            assert walked.reset[row, t] == (starts[here] or t == 0)


def test_the_ring_is_long_enough_in_the_walk_to_close(tmp_path: Path) -> None:
    """The walk above is no proof of the closing of the ring unless some row passes it."""
    path = write_documents(tmp_path)
    source = open_source(text_config(path, "train.seed=3"))
    tokens, _ = walk_of_ring(split_texts(read_texts(path), 0.2)[0], 8)
    around = joined([source.batch(step) for step in range(1, len(tokens) // 24 + 2)])

    documents = len(split_texts(read_texts(path), 0.2)[0])
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
        assert all(torch.equal(a, b) for a, b in zip(first.validation(index), second.validation(index), strict=True))
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
    source = open_source(text_config(str(path)))
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


# ----------------------------------------------------------------------------------------------------------------------
# Associative recall


def recall_overrides(**recall: int) -> list[str]:
    """Overrides of data.recall, and the vocabulary that they make."""
    fields = {"pairs": 8, "keys": 64, "values": 64, "gap": 0, "queries": 8} | recall
    vocabulary = fields["keys"] + fields["values"] + 8
    return [f"data.recall.{name}={value}" for name, value in fields.items()] + [f"model.vocab_size={vocabulary}"]


SHAPES = {
    "preset": ["train.seed=4"],
    "few queries of many keys": [*recall_overrides(queries=3, keys=500, values=5), "train.seed=1"],
    "no key left over": [*recall_overrides(keys=8), "train.batch_size=9"],
    "one pair": [*recall_overrides(pairs=1, queries=1, keys=1, values=2), "data.sequence_length=43"],
    "exactly beyond reach": [*recall_overrides(), "data.sequence_length=70"],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_answer_of_recall_stands_behind_its_key_and_beyond_the_reach_of_the_layers(shape: str) -> None:
    """By brute force: the only source of a target is a pair further back than windows and convolutions reach."""
    config = load_config("recall", SHAPES[shape])
    task, source = config.data.recall, open_source(config)
    reach = config.model.n_layers * (config.model.attention.window + config.model.memory.conv_kernel - 1)

    for batch in (source.batch(0), source.batch(11), source.validation(2)):
        for tokens, targets, reset in zip(*(part.tolist() for part in batch), strict=True):
            asked = [place for place, target in enumerate(targets) if target != IGNORED]
            assert len(tokens) == config.data.sequence_length
            assert reset == [True] + [False] * (len(tokens) - 1)
            assert len({tokens[place] for place in asked}) == len(asked) == task.queries
            assert len(set(tokens[: 2 * task.pairs : 2])) == task.pairs
            for place in asked:
                pair = tokens.index(tokens[place])
                assert tokens[place] < task.keys <= targets[place] < task.keys + task.values
                assert pair % 2 == 0
                assert pair < 2 * task.pairs
                assert tokens[pair + 1] == targets[place] == tokens[place + 1]
                assert place - (pair + 1) > reach
                assert tokens[pair + 2 : place].count(tokens[place]) == 0


def test_recall_has_filler_between_pairs_and_queries_that_is_neither_key_nor_value() -> None:
    config = load_config("recall")
    tokens = open_source(config).batch(0).tokens[:, 16:112]

    assert tokens.min() == 128
    assert tokens.max() == 135
    assert config.data.recall.filler(128) == 96


def test_recall_answers_and_the_order_of_queries_are_spread_evenly() -> None:
    """Each of 4 values, keys and queried pairs in a quarter of 16,000 rows; 5 standard errors are 0.017."""
    config = load_config("recall", [*recall_overrides(pairs=4, queries=4, keys=4, values=4), "train.batch_size=4000"])
    batches = [open_source(config).batch(step) for step in range(4)]
    first_query = torch.cat([batch.tokens[:, -8] for batch in batches])
    first_key = torch.cat([batch.tokens[:, 0] for batch in batches])
    answers = torch.cat([batch.tokens[:, -7] for batch in batches]) - 4

    for value in range(4):
        assert abs((first_key == value).double().mean() - 0.25) < 0.017
        assert abs((answers == value).double().mean() - 0.25) < 0.017
    assert abs((first_query == first_key).double().mean() - 0.25) < 0.017


def test_no_row_of_recall_comes_twice_in_neighbouring_steps_or_in_validation() -> None:
    source = open_source(load_config("recall"))
    batches = [source.batch(step) for step in range(20)] + [source.validation(index) for index in range(8)]
    keys = [tuple(row) for batch in batches for row in batch.tokens[:, :16:2].tolist()]

    assert len(set(keys)) == len(keys) == 28 * 64


def test_recall_accuracy_counts_scored_positions_only() -> None:
    targets = torch.tensor([[IGNORED, 2, IGNORED], [0, 1, IGNORED]])
    logits = torch.full((2, 3, 4), -1.0)
    logits[0, 1, 2] = logits[1, 0, 0] = logits[1, 1, 3] = logits[0, 0, 1] = 5.0

    assert recall_accuracy(logits, targets).item() == pytest.approx(2 / 3)


# ----------------------------------------------------------------------------------------------------------------------
# Tokenizers


@pytest.fixture(scope="module")
def bpe() -> BPETokenizer:
    return BPETokenizer.train([text[:20_000] for text in shipped_texts()], 400)


@given(st.text(max_size=60))
def test_bytes_give_every_text_back(text: str) -> None:
    tokenizer = ByteTokenizer()

    assert tokenizer.encode(text) == list(text.encode())
    assert decode(tokenizer, tokenizer.encode(text)) == text


@given(text=st.text(max_size=60))
def test_byte_pairs_give_every_text_back_and_no_text_is_the_separator(bpe: BPETokenizer, text: str) -> None:
    tokens = bpe.encode(text)

    assert decode(bpe, tokens) == text
    assert bpe.separator not in tokens


def test_byte_pairs_shorten_the_text_and_have_the_size_asked_for(bpe: BPETokenizer) -> None:
    text = shipped_texts()[0]

    assert bpe.vocab_size == bpe.separator + 1 == 400
    assert len(bpe.encode(text)) < 0.7 * len(text)


@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_a_saved_tokenizer_comes_back_the_same(kind: str, bpe: BPETokenizer) -> None:
    tokenizer: Tokenizer = bpe if kind == "bpe" else ByteTokenizer()
    loaded = tokenizer_from_json(tokenizer.to_json(), "tokenizer.json")
    text = "".join(SENTENCES) + shipped_texts()[1][:3000]

    assert (loaded.vocab_size, loaded.separator) == (tokenizer.vocab_size, tokenizer.separator)
    assert loaded.encode(text) == tokenizer.encode(text)
    assert loaded.to_json() == tokenizer.to_json()


def test_the_same_text_trains_the_same_byte_pairs(bpe: BPETokenizer) -> None:
    assert BPETokenizer.train([text[:20_000] for text in shipped_texts()], 400).to_json() == bpe.to_json()


@pytest.mark.parametrize("saved", ["", "{", "[1]", '{"kind": "words"}', '{"kind": "bpe", "model": {}}', "[" * 100_000])
def test_a_foreign_tokenizer_file_is_refused_by_its_name(saved: str) -> None:
    with pytest.raises(UserError, match=r"^tokenizer.json: "):
        tokenizer_from_json(saved, "tokenizer.json")


def test_a_word_tokenizer_is_refused_as_no_byte_pair_encoding(bpe: BPETokenizer) -> None:
    foreign = json.loads(bpe.to_json())
    foreign["model"]["model"] = {"type": "WordLevel", "vocab": {"two words": 0}, "unk_token": "two words"}

    with pytest.raises(UserError, match=r"^tokenizer.json: holds no byte-pair encoding"):
        tokenizer_from_json(json.dumps(foreign), "tokenizer.json")


@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_streaming_gives_each_character_with_its_last_byte(kind: str, bpe: BPETokenizer) -> None:
    tokenizer: Tokenizer = bpe if kind == "bpe" else ByteTokenizer()
    text = "".join(SENTENCES)
    decoder, written, taken = StreamDecoder(tokenizer), "", b""
    for token in tokenizer.encode(text):
        written += decoder.push(token)
        taken += tokenizer.token_bytes(token)
        assert written == taken.decode(errors="ignore")

    assert written + decoder.finish() == text


def test_an_unfinished_character_is_replaced_at_the_end_of_the_stream() -> None:
    decoder = StreamDecoder(ByteTokenizer())

    assert [decoder.push(token) for token in (0xE2, 0x82, SEPARATOR)] == ["", "", ""]
    assert decoder.finish() == "\ufffd"


@pytest.mark.parametrize("token", [-1, 257])
def test_a_token_outside_the_vocabulary_is_refused(token: int) -> None:
    with pytest.raises(UserError, match=f"token {token} is not in the vocabulary; tokens are 0 to 256"):
        decode(ByteTokenizer(), [65, token])


def test_half_a_surrogate_pair_is_refused(bpe: BPETokenizer) -> None:
    for tokenizer in (ByteTokenizer(), bpe):
        with pytest.raises(UserError, match="character 2 is half of a surrogate pair"):
            tokenizer.encode("ab\ud800")


def test_byte_pairs_without_their_package_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(UserError, match=r"install atlas-spec\[tokenizers\]"):
        BPETokenizer.train(["text"], 300)


def test_byte_pairs_are_trained_on_the_training_text_alone(tmp_path: Path) -> None:
    path = tmp_path / "two.txt"
    path.write_text("ab" * 800 + "xyz" * 134)
    source = open_source(
        text_config(str(path), "data.tokenizer=bpe", "data.bpe_vocab_size=259", "model.vocab_size=259")
    )
    assert source.tokenizer is not None

    assert len(source.tokenizer.encode("ab" * 6)) < 12
    assert len(source.tokenizer.encode("xyz" * 6)) == 18


def test_a_given_tokenizer_is_used_instead_of_training_one(tmp_path: Path, bpe: BPETokenizer) -> None:
    config = text_config(
        write_documents(tmp_path), "data.tokenizer=bpe", "data.bpe_vocab_size=400", "model.vocab_size=400"
    )

    assert open_source(config, bpe).tokenizer is bpe


def test_a_text_too_poor_for_its_byte_pairs_is_refused_with_the_number_it_gives(tmp_path: Path) -> None:
    path = tmp_path / "poor.txt"
    path.write_text("ab" * 1000)

    with pytest.raises(UserError, match=r"poor.txt: the tokenizer has \d+ tokens, but model.vocab_size is 2048"):
        open_source(text_config(str(path), "data.tokenizer=bpe", "model.vocab_size=2048"))


# ----------------------------------------------------------------------------------------------------------------------
# Texts


def test_the_shipped_text_is_three_plays_without_mark_up() -> None:
    texts = shipped_texts()

    assert [text.split("\n", 1)[0] for text in texts] == ["HAMLET", "MACBETH", "A MIDSUMMER NIGHT'S DREAM"]
    assert 300_000 < sum(len(text.encode()) for text in texts) < 400_000
    assert not set("".join(texts)) & set("_*\\<>#|`~\t\r\f")
    assert all(text.isascii() and text.endswith("\n") and " \n" not in text for text in texts)
    assert "To be, or not to be: that is the question:\n" in texts[0]


def test_mark_up_becomes_plain_text() -> None:
    markdown = (
        "# Hamlet\n\n## ACT I\n\n_Enter KING,\nand others_\n\n"
        "**KING**  \n_\\[Aside]_  \nO, '\\--no, & c.\n\n\n\n__\\[Reads]_\n"
    )
    plain = "HAMLET\n\nACT I\n\n[Enter KING,\nand others]\n\nKING\n[Aside]\nO, '--no, &c.\n\n[Reads]\n"

    assert plain_text(markdown) == plain


def test_a_folder_gives_its_text_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b.md", "a/z.txt", "a.txt", "c.jsonl", "skipped.bin"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('{"text": "json"}\n\n{"question": "q", "answer": "a"}\n' if "c." in name else name)

    assert read_texts(str(tmp_path)) == ["a/z.txt", "a.txt", "b.md", "json", "q\na"]


def test_a_file_is_read_byte_for_byte_but_for_its_mark(tmp_path: Path) -> None:
    path = tmp_path / "windows.txt"
    path.write_bytes("\ufeffeins\r\nzwei\u2028".encode())

    assert read_texts(str(path)) == ["eins\r\nzwei\u2028"]


def test_lines_of_json_end_at_newlines_only(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"text": "a\u2028b"}\r\n{"text": "c"}', newline="")

    assert read_texts(str(path)) == ["a\u2028b", "c"]


def _folder(path: Path) -> None:
    path.mkdir()


def _folder_of(name: str, content: bytes) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.mkdir()
        (path / "good.txt").write_text("text " * 1000)
        (path / name).write_bytes(content)

    return make


BAD: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "missing": ("x.txt", lambda path: None, "cannot be read (No such file or directory)"),
    "empty": ("x.txt", lambda path: path.write_bytes(b""), "is empty"),
    "only a byte-order mark": ("x.txt", lambda path: path.write_bytes(b"\xef\xbb\xbf"), "is empty"),
    "blank": ("x.txt", lambda path: path.write_text(" \n\t\n"), "is empty"),
    "binary": ("x.bin", lambda path: path.write_bytes(b"PK\x03\x04\0\0"), "is binary (byte 4 is zero)"),
    "UTF-16": ("x.txt", lambda path: path.write_text("text", encoding="utf-16"), "is binary"),
    "Latin-1": ("x.txt", lambda path: path.write_bytes(b"caf\xe9 noir"), "is not UTF-8 text (byte 3 cannot"),
    "pipe": ("x.txt", lambda path: os.mkfifo(path), "is neither a plain file nor a folder"),
    "empty folder": ("x", _folder, "holds no file that ends in .jsonl, .md, .txt"),
    "empty file in a folder": ("x", _folder_of("y.md", b""), "/y.md: is empty"),
    "binary file in a folder": ("x", _folder_of("y.txt", b"a\0"), "/y.txt: is binary"),
    "name too long": ("x" * 300, lambda path: None, "cannot be read (File name too long)"),
    "too short to train on": ("x.txt", lambda path: path.write_text("a" * 60), "its training part has 49 tokens"),
    "too short to validate on": ("x.txt", lambda path: path.write_text("a" * 89), "its validation part has 19 tokens"),
    "not JSON": ("x.jsonl", lambda path: path.write_text('{"text": "a"}\n{"text"\n'), ", line 2: is not JSON"),
    "no object": ("x.jsonl", lambda path: path.write_text('\n\n["a"]\n'), ", line 3: must be an object"),
    "no text": ("x.jsonl", lambda path: path.write_text('{"title": "a"}\n'), ", line 1: must be an object"),
    "half a question": ("x.jsonl", lambda path: path.write_text('{"question": "a"}\n'), ", line 1: must be an object"),
    "text is a number": ("x.jsonl", lambda path: path.write_text('{"text": 1}\n'), ", line 1: must be an object"),
    "text is empty": ("x.jsonl", lambda path: path.write_text('{"text": ""}\n'), ", line 1: must be an object"),
    "half a character": ("x.jsonl", lambda path: path.write_text('{"text": "\\ud800"}'), ", line 1: must be an object"),
    "bottomless JSON": ("x.jsonl", lambda path: path.write_text("[" * 100_000), ", line 1: is not JSON"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_data_is_refused_by_the_name_of_its_file(kind: str, tmp_path: Path) -> None:
    name, make, complaint = BAD[kind]
    path = tmp_path / name
    make(path)

    with pytest.raises(UserError) as caught:
        open_source(text_config(str(path), "model.memory.chunk=7"))

    assert str(caught.value).startswith(str(path))
    assert complaint in str(caught.value)


def test_an_unreadable_file_is_refused_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal of the file system is feigned: a test that runs as root may read everything."""
    path = tmp_path / "secret.txt"
    path.write_text("text " * 1000)

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    config = text_config(str(path))
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UserError, match=r"secret.txt: cannot be read \(Permission denied\)"):
        open_source(config)
