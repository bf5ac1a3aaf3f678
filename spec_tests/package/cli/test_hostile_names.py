"""Names that carry terminal sequences, in every place where a command takes a name: shown, never obeyed.

Every test names the fault that was put into the program by hand and that it caught.
"""

import re
from pathlib import Path

import pytest

from spec_tests.package.micro.command import Atlas

NAME = "x\x1b[2J\x9b1A\u202ey"
SHOWN = r"x\x1b[2J\x9b1A\u202ey"
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]")
COMMANDS = (
    ("runs", NAME),
    ("plot", NAME),
    ("eval", NAME),
    ("generate", NAME),
    ("export", NAME, "out"),
    ("train", "--resume", NAME),
    ("train", "--config", NAME),
    ("preflight", "--gate", NAME),
    ("config", "show", NAME),
    ("vectors", "check", NAME),
    ("vectors", "list", "--op", NAME),
    ("port", "run", "--op", "l2_normalize", "--numerics", "f64", "--config", NAME, "--in", NAME, "--out", NAME),
    ("port", "check", NAME),
    ("port", "serve", "--port", NAME),
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_error_shows_the_name_and_obeys_nothing_in_it(
    command: tuple[str, ...], atlas: Atlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: one command that prints its error by itself."""
    monkeypatch.chdir(tmp_path)
    ended = atlas(*command)
    assert ended.code == 2
    assert SHOWN in ended.err
    assert not OBEYED.search(ended.out + ended.err)
