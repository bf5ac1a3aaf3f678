"""What many tests ask for and is the same each time, worked out once in a process.

Tables of TOML texts, the commands, byte pairs of a text, and the tokens of texts laid in a ring: the shipped text is
encoded by hundreds of runs. Nothing is remembered of what raises an error. Tables and rings are copies, which a test
may change.
"""

import copy
from collections.abc import Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from types import SimpleNamespace
from unittest.mock import patch

import typer.main

from atlas_ref.data.streams import Ring
from atlas_ref.data.tokenizer import BPETokenizer, Tokenizer
from atlas_ref.reading import parse_toml

MOST = 4096
"""Texts whose tables are kept: overrides of a line and presets of a page."""
RINGS = 16
"""Rings that are kept: of the shipped text, in its two parts, for runs of different tokenizers and grids."""


@contextmanager
def reusing() -> Iterator[None]:
    """Read a text of TOML, make the commands, train byte pairs and encode documents once inside."""
    table, commands, encode = lru_cache(MOST)(parse_toml), lru_cache(typer.main.get_command), Ring.of

    @lru_cache(RINGS)
    def trained(texts: tuple[str, ...], vocab_size: int) -> BPETokenizer:
        return BPETokenizer.train(texts, vocab_size)

    rings: dict[Hashable, Ring] = {}

    def ring(texts: Sequence[str], tokenizer: Tokenizer, grid: int) -> Ring:
        asked = (tuple(texts), type(tokenizer), tokenizer.to_json(), grid)
        known = rings.pop(asked, None)
        tokens, starts = rings[asked] = known or encode(texts, tokenizer, grid)
        if len(rings) > RINGS:
            # The one that was asked for longest ago.
            del rings[next(iter(rings))]
        return Ring(tokens.copy(), starts.copy())

    pairs = SimpleNamespace(train=lambda texts, vocab_size: trained(tuple(texts), vocab_size))
    with ExitStack() as patches:
        patches.enter_context(patch("atlas_ref.config.toml.parse_toml", lambda content: copy.deepcopy(table(content))))
        patches.enter_context(patch.object(typer.main, "get_command", commands))
        patches.enter_context(patch("atlas_ref.data.encoding.BPETokenizer", pairs))
        patches.enter_context(patch.object(Ring, "of", ring))
        yield
