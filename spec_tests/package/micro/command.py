"""The command line inside this process, for tests of what it prints and how it ends."""

import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from cli.main import main


class Ended(NamedTuple):
    """Exit code and both outputs of a command."""

    code: int
    out: str
    err: str


Atlas = Callable[..., Ended]


def in_this_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Atlas:
    """Return `atlas`: a function of its arguments."""

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["atlas", *map(str, arguments)])
        # Under `python -m pytest` the first argument would not be taken for the name of the program, but `-m pytest`.
        monkeypatch.setattr(sys.modules["__main__"], "__package__", None)
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        out, err = capsys.readouterr()
        assert isinstance(code, int)
        return Ended(code, out, err)

    return run
