"""Tokenizers: every text comes back, whole or streamed, and what is saved comes back the same."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_ref.data.corpus import shipped_corpus
from atlas_ref.data.streams import open_source
from atlas_ref.data.tokenizer import BPETokenizer, ByteTokenizer, StreamDecoder, Tokenizer, decode, tokenizer_from_json
from atlas_ref.errors import UserError
from spec_tests.package.micro.data_inputs import text_config, write_documents

SENTENCES = ["It was the best of times, it was the worst of times; ", "naïve café, 東京 🎭, ", "a\r\n\tb\x0b\f "]


@pytest.fixture(scope="module")
def bpe() -> BPETokenizer:
    return BPETokenizer.train([text[:20_000] for text in shipped_corpus().documents], 400)


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
    text = shipped_corpus().documents[0]

    assert bpe.vocab_size == bpe.separator + 1 == 400
    assert len(bpe.encode(text)) < 0.7 * len(text)


@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_a_saved_tokenizer_comes_back_the_same(kind: str, bpe: BPETokenizer) -> None:
    tokenizer: Tokenizer = bpe if kind == "bpe" else ByteTokenizer()
    loaded = tokenizer_from_json(tokenizer.to_json(), "tokenizer.json")
    text = "".join(SENTENCES) + shipped_corpus().documents[1][:3000]

    assert (loaded.vocab_size, loaded.separator) == (tokenizer.vocab_size, tokenizer.separator)
    assert loaded.encode(text) == tokenizer.encode(text)
    assert loaded.to_json() == tokenizer.to_json()


def test_the_same_text_trains_the_same_byte_pairs(bpe: BPETokenizer) -> None:
    assert BPETokenizer.train([text[:20_000] for text in shipped_corpus().documents], 400).to_json() == bpe.to_json()


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
    tokenizer = ByteTokenizer()
    decoder = StreamDecoder(tokenizer)

    assert [decoder.push(token) for token in (0xE2, 0x82, tokenizer.separator)] == ["", "", ""]
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

    with pytest.raises(UserError, match=r"pip install .\.\[tokenizers\]"):
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


def test_a_text_too_poor_for_its_byte_pairs_gives_fewer_tokens_than_the_model_has(tmp_path: Path) -> None:
    """Kills: a text that is refused because it does not fill the vocabulary of the model."""
    path = tmp_path / "poor.txt"
    path.write_text("a b " * 500)
    source = open_source(text_config(str(path), "data.tokenizer=bpe", "model.vocab_size=2048"))

    assert source.tokenizer is not None
    assert 257 < source.vocab_size == source.tokenizer.vocab_size < 300
    assert int(source.batch(0).tokens.max()) < source.vocab_size


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tmp_path: Path, bpe: BPETokenizer) -> None:
    """Kills: tokens beyond the embedding, which fail inside torch or, on a GPU, end the process."""
    config = text_config(
        write_documents(tmp_path), "data.tokenizer=bpe", "data.bpe_vocab_size=399", "model.vocab_size=399"
    )

    with pytest.raises(UserError, match=r"the tokenizer has 400 tokens, more than the 399 of the model"):
        open_source(config, bpe)
