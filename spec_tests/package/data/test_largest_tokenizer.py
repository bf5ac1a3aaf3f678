"""A tokenizer is kept in the description of every checkpoint: what is trained there can be read back from there.

Every test names the fault that was put into the program by hand and that it caught.
"""

import json
from pathlib import Path

import pytest

from atlas_ref.config.vocabulary import MOST_TOKENS
from atlas_ref.data import tokenizer as module
from atlas_ref.data.tokenizer import BPETokenizer, tokenizer_from_json
from atlas_ref.errors import UserError
from atlas_ref.reading import MOST_BYTES, parse_json, read_json
from atlas_ref.storage.files import write_json
from spec_tests.package.micro.runs import micro_config


def text_of_tokens(count: int) -> str:
    """Return what is kept of a byte-pair encoding of so many tokens, as far as it grows with them."""
    tokens = [f"{number:06x}" for number in range(count)]
    merges = [[token[:3], token[3:]] for token in tokens]
    return json.dumps(
        {"kind": "bpe", "model": {"vocab": dict(zip(tokens, range(count), strict=True)), "merges": merges}}
    )


def test_the_largest_vocabulary_that_a_config_may_ask_for_comes_back_from_a_file(tmp_path: Path) -> None:
    """Kills: a limit of values or bytes that the reader has and the writer does not; a larger vocabulary allowed."""
    assert micro_config(f"data.bpe_vocab_size={MOST_TOKENS}").data.bpe_vocab_size == 2**18
    with pytest.raises(UserError, match="bpe_vocab_size"):
        micro_config(f"data.bpe_vocab_size={MOST_TOKENS + 1}")
    file = tmp_path / "meta.json"
    text = text_of_tokens(MOST_TOKENS)
    write_json(file, {"tokenizer": text})
    kept = parse_json(read_json(file)["tokenizer"].encode(), module.MOST_VALUES)
    assert len(kept["model"]["merges"]) == MOST_TOKENS


def test_tokens_that_no_checkpoint_could_hold_are_refused_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a run that trains until its first save, which cannot be read back."""
    texts = ["naïvely, the ïïïïïïïïïïïïïï of it " * 9]
    kept = json.dumps(BPETokenizer.train(texts, 290).to_json())
    assert module.MOST_JSON <= MOST_BYTES - 2**22
    monkeypatch.setattr(module, "MOST_JSON", len(kept))
    assert json.dumps(BPETokenizer.train(texts, 290).to_json()) == kept
    monkeypatch.setattr(module, "MOST_JSON", len(kept) - 1)
    with pytest.raises(UserError, match=rf"takes {len(kept):,} bytes, and a checkpoint holds .* lower data\.bpe_vocab"):
        BPETokenizer.train(texts, 290)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 65 + "]" * 65, "nested more than 64 deep"),
        ("[" + "[]," * (5 * MOST_TOKENS) + "0]", "more than 1,310,720 values"),
        ('{"kind": "bytes", "kind": "bytes"}', "an object holds a key twice"),
        ('{"kind": NaN}', "is not finite"),
        ('"\ud800"', "surrogates not allowed"),
    ],
)
def test_the_text_of_a_tokenizer_is_read_with_the_bounds_of_every_other_text(text: str, why: str) -> None:
    """Kills: json.loads, which takes all of it and makes objects of it before anybody looks."""
    with pytest.raises(UserError, match=rf"^meta\.json: is not the JSON of a tokenizer \(.*{why}"):
        tokenizer_from_json(text, "meta.json")
