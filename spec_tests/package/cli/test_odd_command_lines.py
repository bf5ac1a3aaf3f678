"""Odd command lines: each gets one sentence and exit code 2, and nothing is written or changed.

The tables are `odd_training` and `odd_commands`. Kills: a traceback; an empty name that is taken for the default; a
word that is passed over; half a result that is left behind.
"""

import os
import shlex
from pathlib import Path

import pytest

from atlas_ref.config import to_toml
from spec_tests.package.cli.odd_commands import OTHERS
from spec_tests.package.cli.odd_training import TRAINING
from spec_tests.package.micro.command import Atlas
from spec_tests.package.micro.runs import RECALL, micro_config, start

LINES = TRAINING | OTHERS
LONG = "x" * 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs and everything that the command lines name and should not."""
    path = tmp_path_factory.mktemp("odd")
    config = micro_config("model.n_layers=1", "data.sequence_length=16", "train.max_steps=2")
    start(config, path / "run")
    start(micro_config(*RECALL, "train.max_steps=2"), path / "recall")
    files = {
        "m.toml": to_toml(config).encode(),
        "empty.toml": b"",
        "blank.toml": b"\n\n# nothing\n",
        "bin.toml": b"\xff\xfe\0",
        "torn.toml": b"[model\n",
        "list.toml": b"a=[[[[1]]]]\n",
        "notes.txt": b"my notes",
        "short.txt": b"ab",
        "zero.txt": b"",
        "latin.txt": "caf\xe9 ".encode("latin-1") * 500,
        "utf16.txt": ("text " * 500).encode("utf-16"),
        "bin.txt": b"\0\1\2" * 999,
        "t.jsonl": b'{"text": "a"}\n{"text": \n',
        "nokey.jsonl": b'{"body": "a b c"}\n',
        "arr.jsonl": b"[1]\n",
        "theirs/config.toml": b'name = "mine"',
    }
    for name in ("theirs", "nofolder"):
        (path / name).mkdir()
    for name, content in files.items():
        (path / name).write_bytes(content)
    os.mkfifo(path / "pipe")
    (path / "link").symlink_to("nowhere")
    return path


def state(path: Path) -> dict[str, int]:
    """Return when each entry below a folder was last changed."""
    return {str(entry): entry.lstat().st_mtime_ns for entry in path.rglob("*")}


COMMANDS = sorted({line.split()[0] for line in LINES})


@pytest.mark.parametrize("command", COMMANDS)
def test_an_odd_command_line_gets_one_sentence_and_changes_nothing(
    atlas: Atlas, folder: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(folder)
    before = state(folder)
    for line, said in LINES.items():
        if line.split()[0] != command:
            continue
        ended = atlas(*(LONG if word == "LONG" else word for word in shlex.split(line)))
        errors = [text for text in ended.err.splitlines() if text.startswith("Error: ")]
        assert (ended.code, len(errors)) == (2, 1), (line, ended)
        assert said in errors[0], line
        assert "Traceback" not in ended.err + ended.out, line
        assert state(folder) == before, line


def test_there_are_more_than_a_hundred_of_every_command() -> None:
    """Kills: a table that is cut down until it passes."""
    assert len(LINES) > 150
    commands = {shlex.split(line)[0] for line in LINES}
    assert commands >= {"train", "preflight", "eval", "generate", "export", "plot", "runs", "config", "data", "doctor"}
    assert commands >= {"conform", "port", "vectors", "trace", "selfproof"}
