"""What many tests ask for and is the same each time, worked out once in a process: tables of TOML, and the commands.

Nothing is remembered of what raises an error. Each table is a copy, which a test may change.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from unittest.mock import patch

import typer.main

from atlas_ref.reading import parse_toml

MOST = 4096
"""Texts whose tables are kept: overrides of a line and presets of a page."""


@contextmanager
def reusing() -> Iterator[None]:
    """Read each text of TOML, and make the commands of each `typer.Typer`, once inside."""
    table, commands = lru_cache(MOST)(parse_toml), lru_cache(typer.main.get_command)
    with (
        patch("atlas_ref.config.toml.parse_toml", lambda content: copy.deepcopy(table(content))),
        patch.object(typer.main, "get_command", commands),
    ):
        yield
