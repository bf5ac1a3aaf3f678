"""What a run keeps as the reason of a person can be read by one, and read back by the program.

Every test names the fault that was put into the program by hand and that it caught.
"""

from pathlib import Path

import pytest

from atlas_ref.config import to_toml
from atlas_ref.readable import unreadable
from atlas_ref.storage.checkpoint import find_checkpoint
from spec_tests.package.micro.command import Atlas
from spec_tests.package.micro.runs import UNEXAMINED, micro_config

READABLE = (
    "ablation",
    "the test is about something else",
    "проба №3",
    "試驗",
    "naïve: ½ → ∞",
    "-",
    "7",
    "a\u0301b",
    "🙂",
)
HIDDEN = {
    "a byte that is not UTF-8": "caf\udce9",
    "half of a surrogate pair": "\ud800x",
    "a zero-width space": "\u200b",
    "a zero-width space in a word": "ab\u200blation",
    "a byte-order mark": "\ufeff",
    "a mark that turns the direction of writing": "\u200fx",
    "an override of it": "a\u202eb",
    "an empty Braille pattern": "\u2800",
    "a Hangul filler": "\u3164",
    "a half-width Hangul filler": "\uffa0x",
    "a soft hyphen": "ab\xad",
    "a terminal's escape": "\x1b[1A\x1b[2Kx",
    "a bell": "x\x07",
    "a variation selector": "x\ufe0f",
    "a combining joiner": "\u034f",
    "a private character": "\ue000",
    "a mark alone": "\u0301",
    "nothing": "",
    "a space": " ",
}


@pytest.mark.parametrize("text", READABLE)
def test_text_of_any_script_is_readable(text: str) -> None:
    """Kills: ASCII only; marks refused where they sit on a letter."""
    assert unreadable(text) is None


@pytest.mark.parametrize("what", HIDDEN)
def test_a_text_with_anything_that_nobody_sees_is_not_readable(what: str) -> None:
    """Kills: `isprintable` alone, which takes fillers for letters; a look at the whole where one character hides."""
    assert unreadable(HIDDEN[what]) is not None


def test_a_reason_that_nobody_can_read_is_refused_before_anything_is_written(
    atlas: Atlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a reason that is stored and shown as nothing; one that makes every checkpoint of its run unreadable."""
    monkeypatch.chdir(tmp_path)
    for reason in (*HIDDEN.values(), "x" * 1001):
        ended = atlas("train", "--out", "run", "--skip-preflight", reason)
        assert (ended.code, ended.err.count("\n")) == (2, 1), reason
        assert ended.err.startswith("Error: --skip-preflight needs a reason")
        assert ended.err.strip().isprintable()
        assert not Path("run").exists()


def test_a_directory_whose_name_is_not_utf_8_is_refused_at_the_start(atlas: Atlas, tmp_path: Path) -> None:
    """Kills: a run that trains to its end in a directory from which it can neither be resumed nor evaluated."""
    config = tmp_path / "micro.toml"
    config.write_text(to_toml(micro_config()))
    for name in ("caf\udce9", "caf\udce9/run", "a\x1b[2Jb", "a\nb"):
        ended = atlas("train", "--config", config, *UNEXAMINED, "--out", tmp_path / name)
        assert (ended.code, ended.err.count("\n")) == (2, 1), ended.err
        assert "must be UTF-8 without control characters" in ended.err
        assert list(tmp_path.iterdir()) == [config]
    assert atlas("train", "--config", config, *UNEXAMINED, "--out", tmp_path / "café été", "--max-steps", 1).code == 0
    assert find_checkpoint(tmp_path / "café été").step == 1
