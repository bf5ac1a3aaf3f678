"""How the texts of a run become tokens: the tokenizer that its configuration names, and the grid of its rows."""

from collections.abc import Sequence

from atlas_ref.config import DataConfig, RunConfig
from atlas_ref.data.tokenizer import BPETokenizer, ByteTokenizer, Tokenizer
from atlas_ref.errors import UserError


def tokenizer_for(name: str, texts: Sequence[str], config: RunConfig, given: Tokenizer | None) -> Tokenizer:
    """The tokenizer of data that messages call `name`, `given` (that of an earlier run) where there is one.

    Otherwise the configured one is made, which for bpe means trained on the training texts. It may have fewer tokens
    than the model: the loss is over all of the model's, of which the others are never a target, and what is drawn or
    judged is one of the tokenizer's. Raises UserError where it has more.
    """
    tokenizer = _make(config.data, texts) if given is None else given
    refuse_more_tokens(name, tokenizer, config)
    return tokenizer


def refuse_more_tokens(name: str, tokenizer: Tokenizer, config: RunConfig) -> None:
    """Raise UserError, beginning with `name`, for a tokenizer with more tokens than the model can tell apart."""
    size = config.any_model.vocab_size
    if tokenizer.vocab_size > size:
        raise UserError(
            f"{name}: the tokenizer has {tokenizer.vocab_size:,} tokens, more than the {size:,} of the model "
            "(model.vocab_size)."
        )


def grid_of(config: RunConfig) -> int:
    """Documents, offsets and examples are multiples of this.

    A row that is not made of whole chunks gets no grid: with chunks longer than rows, whole rows could be separators.
    """
    grid = config.any_model.grid
    return grid if config.data.sequence_length % grid == 0 else 1


def _make(config: DataConfig, texts: Sequence[str]) -> Tokenizer:
    return BPETokenizer.train(texts, config.bpe_vocab_size) if config.tokenizer == "bpe" else ByteTokenizer()
