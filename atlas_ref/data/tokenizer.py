"""From text to tokens and back: UTF-8 bytes, or a byte-pair encoding trained on the text.

Both tokenizers work on the bytes of UTF-8, so decode(encode(text)) == text for every text. Both have one special token,
the separator, which follows each document: its id is the last of the vocabulary, no text encodes to it, and it decodes
to nothing.

A token may be a part of a character. `decode` puts U+FFFD for bytes that are not UTF-8; `StreamDecoder`, for text that
is written token by token, holds an unfinished character back until its last byte has come.
"""

import codecs
import importlib.util
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from atlas_ref.config.vocabulary import BYTE_SEPARATOR, BYTE_VALUES, BYTE_VOCABULARY, MOST_TOKENS
from atlas_ref.errors import UserError
from atlas_ref.reading import MOST_BYTES, parse_json

if TYPE_CHECKING:
    import tokenizers

MOST_JSON = 3 * MOST_BYTES // 4
"""Bytes that a tokenizer may take in the description of a checkpoint, which holds other things too."""
MOST_VALUES = 5 * MOST_TOKENS
"""Values of the largest tokenizer: each token has a text and a number, and a list of two texts that says its merge."""


@runtime_checkable
class Tokenizer(Protocol):
    """What the streams and the generator need of a tokenizer."""

    @property
    def vocab_size(self) -> int:
        """Number of tokens, the separator included."""

    @property
    def separator(self) -> int:
        """The token that follows each document."""

    def encode(self, text: str) -> list[int]:
        """The tokens of a text. Raises UserError if the text cannot be written as UTF-8."""

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token stands for; none for the separator. Raises UserError for an unknown token."""

    def to_json(self) -> str:
        """All that `tokenizer_from_json` needs to make the same tokenizer."""


class ByteTokenizer:
    """Tokens 0 to 255 are bytes; 256 is the separator."""

    vocab_size = BYTE_VOCABULARY
    separator = BYTE_SEPARATOR

    def encode(self, text: str) -> list[int]:
        """The bytes of the text."""
        return list(_utf8(text))

    def token_bytes(self, token: int) -> bytes:
        """The one byte, or none for the separator."""
        _check_token(token, self.vocab_size)
        return bytes([token]) if token < BYTE_VALUES else b""

    def to_json(self) -> str:
        """The kind of the tokenizer; there is nothing else to keep."""
        return json.dumps({"kind": "bytes"})


class BPETokenizer:
    """Byte-pair encoding on bytes (the `tokenizers` package); the separator is put after the trained tokens."""

    def __init__(self, model: "tokenizers.Tokenizer") -> None:
        self._model = model
        self._bytes = _token_table(model)
        self.separator = len(self._bytes)
        self.vocab_size = self.separator + 1

    @classmethod
    def train(cls, texts: Sequence[str], vocab_size: int) -> "BPETokenizer":
        """Merge the most frequent pairs until there are `vocab_size` tokens or no pair is left.

        The same texts give the same tokenizer. Raises UserError if the package `tokenizers` is not installed, and for
        tokens so many and long that no checkpoint could hold them.
        """
        _require_tokenizers()
        import tokenizers
        from tokenizers import models, pre_tokenizers, trainers

        model = tokenizers.Tokenizer(models.BPE())
        model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size - 1,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        model.train_from_iterator(texts, trainer)
        trained = cls(model)
        if (size := len(json.dumps(trained.to_json()))) > MOST_JSON:
            raise UserError(
                f"a byte-pair encoding of this text with {trained.vocab_size:,} tokens takes {size:,} bytes, and a "
                f"checkpoint holds {MOST_JSON:,}; lower data.bpe_vocab_size, and model.vocab_size with it."
            )
        return trained

    def encode(self, text: str) -> list[int]:
        """The merged tokens of the bytes of the text."""
        _utf8(text)
        tokens: list[int] = self._model.encode(text).ids
        return tokens

    def token_bytes(self, token: int) -> bytes:
        """The bytes that were merged to this token."""
        _check_token(token, self.vocab_size)
        return self._bytes[token] if token != self.separator else b""

    def to_json(self) -> str:
        """The kind and the trained merges."""
        return json.dumps({"kind": "bpe", "model": json.loads(self._model.to_str())})


class StreamDecoder:
    """Decodes token by token: characters come out as soon as, and not before, their last byte has come."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        """The characters that this token completes."""
        return self._decoder.decode(self._tokenizer.token_bytes(token))

    def finish(self) -> str:
        """U+FFFD if the last character stayed unfinished, else nothing."""
        return self._decoder.decode(b"", final=True)


def decode(tokenizer: Tokenizer, tokens: Iterable[int]) -> str:
    """The text of the tokens, with U+FFFD for bytes that are not UTF-8."""
    return b"".join(tokenizer.token_bytes(token) for token in tokens).decode(errors="replace")


def tokenizer_from_json(text: str, origin: str) -> Tokenizer:
    """The tokenizer that `to_json` wrote. Raises UserError that names `origin`, the file it was kept in."""
    try:
        saved = parse_json(text.encode(), MOST_VALUES)
    except ValueError as error:
        raise UserError(f"{origin}: is not the JSON of a tokenizer ({error}).") from None
    if saved == {"kind": "bytes"}:
        return ByteTokenizer()
    if isinstance(saved, dict) and saved.get("kind") == "bpe" and "model" in saved:
        return _load_bpe(json.dumps(saved["model"]), origin)
    raise UserError(f"{origin}: holds no tokenizer of a known kind; the kinds are bytes and bpe.")


def _load_bpe(text: str, origin: str) -> BPETokenizer:
    _require_tokenizers()
    import tokenizers

    try:
        return BPETokenizer(tokenizers.Tokenizer.from_str(text))
    except Exception as error:  # the package raises nothing narrower
        raise UserError(f"{origin}: holds no byte-pair encoding ({error}).") from None


def _token_table(model: "tokenizers.Tokenizer") -> list[bytes]:
    """The bytes of each token, by its id."""
    by_id = {token: text for text, token in model.get_vocab().items()}
    return [bytes(_BYTE_OF[character] for character in by_id[token]) for token in range(len(by_id))]


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"the text is not Unicode: character {error.start} is half of a surrogate pair.") from None


def _check_token(token: int, vocab_size: int) -> None:
    if not 0 <= token < vocab_size:
        raise UserError(f"token {token} is not in the vocabulary; tokens are 0 to {vocab_size - 1}.")


def _require_tokenizers() -> None:
    """Byte-pair encoding needs an optional package, which is imported only when one is wanted."""
    if importlib.util.find_spec("tokenizers") is None:
        raise UserError(
            'data.tokenizer = "bpe" needs the package tokenizers, which is not installed; '
            "in a checkout: pip install '.[tokenizers]'."
        )


def _byte_of_character() -> dict[str, int]:
    """The byte behind each character of a byte-level token: printable Latin-1 is itself, the rest from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(BYTE_VALUES) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + rank): byte for rank, byte in enumerate(others)}


_BYTE_OF = _byte_of_character()
