"""Files that nobody should send, at every place where one is read: one sentence, soon, and in little memory.

Every test names the fault that was put into the program by hand and that it caught. More of the drawn files are read by
`python -m benchmarks.hostile_inputs`.
"""

import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from atlas_ref.config import load_config
from atlas_ref.errors import UserError
from atlas_ref.storage.lock import hold
from atlas_ref.storage.metrics_log import read_metrics
from cli.run_records import read_run
from spec_tests.package.damage.hostile_files import draw, read
from spec_tests.package.micro.command import Atlas
from spec_tests.report.xfail import read_expected

SECONDS, MEGABYTES = 2.0, 300.0


@contextmanager
def bounded() -> Iterator[None]:
    """Fail a block that takes more CPU time or memory than any file is worth."""
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert time.process_time() - began < SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < MEGABYTES


@pytest.mark.parametrize("seed", range(3))
def test_a_drawn_file_is_taken_or_refused_in_a_sentence(tmp_path: Path, seed: int) -> None:
    """Kills: any other error; a parser whose time or memory grows with the square of what it reads; a message as long
    as the file.
    """
    words = []
    for hostile in draw(50, seed):
        with bounded():
            said = read(hostile, tmp_path)
        assert said is None or max(map(len, said.splitlines())) < 1_000, hostile.what
        words.append(said)
    assert sum(said is not None for said in words) > 25


def sparse(path: Path) -> None:
    """Make a file of three gigabytes that takes no space."""
    with path.open("wb") as stream:
        stream.truncate(3 * 2**30)


PLACES: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "three gigabytes": sparse,
    "a folder": Path.mkdir,
}
READERS: dict[str, Callable[[Path], object]] = {
    "config.toml": read_run,
    "metrics.jsonl": lambda run: read_metrics(run / "metrics.jsonl"),
    "env.json": read_run,
    "summary.json": read_run,
    "expected.toml": lambda run: read_expected(run / "expected.toml"),
    ".lock": lambda run: enter(run / ".lock"),
}


def enter(lock: Path) -> None:
    """Take a lock."""
    with hold(lock, print):
        pass


@pytest.mark.parametrize(
    # A lock is not read, so it may be of any size.
    ("what", "name"),
    [(what, name) for what in PLACES for name in READERS if (what, name) != ("three gigabytes", ".lock")],
)
def test_what_is_no_small_regular_file_is_refused_unread(tmp_path: Path, what: str, name: str) -> None:
    """Kills: a reader that waits for a pipe, reads a device for ever, or a file of any size into memory."""
    if name != "config.toml":
        (tmp_path / "config.toml").write_text(
            (Path(__file__).parents[3] / "atlas_ref/config/presets/tiny.toml").read_text()
        )
    PLACES[what](tmp_path / name)
    with bounded(), pytest.raises((UserError, OSError)) as refused:
        READERS[name](tmp_path)
    assert str(tmp_path / name) in str(refused.value)


TOMLS = {
    "60,000 hexadecimal digits": b"[train]\nseed = 0x" + b"f" * 60_000,
    "900 hexadecimal digits": b"[train]\nseed = 0x" + b"f" * 900,
    "a header of 50,000 dots": b"[" + b".".join([b"a"] * 50_000) + b"]",
    "50,000 dots with spaces": b" . ".join([b"a"] * 50_000) + b" = 1",
    "50,000 dotted keys": b"".join(b"a.b%d = 1\n" % i for i in range(50_000)),
    "300,000 unknown keys": b"".join(b"k%d=1\n" % i for i in range(60_000)) * 5,
    "9,000 unknown keys": b"".join(b"k%d=1\n" % i for i in range(9_000)),
    "a key of five megabytes": b"k" * 5_000_000 + b" = 1",
    "a key of 900,000 quoted characters": b'"' + b"k" * 900_000 + b'" = 1',
    "a list 400,000 deep": b"x = " + b"[" * 400_000,
}


@pytest.mark.parametrize("what", TOMLS)
def test_a_hostile_config_is_refused_in_short_lines(tmp_path: Path, what: str) -> None:
    """Kills: a digit string that Python does not print; deep tables that are copied by recursion; a guess for each of
    many unknown keys, or for a long one.
    """
    path = tmp_path / "config.toml"
    path.write_bytes(TOMLS[what])
    with bounded(), pytest.raises(UserError) as refused:
        load_config(str(path))
    lines = str(refused.value).splitlines()
    assert len(lines) <= 101
    assert max(map(len, lines)) < 600


def test_an_override_of_many_parts_is_refused(atlas: Atlas) -> None:
    """Kills: nested tables as deep as an option is long."""
    for override in (".".join(["a"] * 20_000) + "=1", "train.seed=0x" + "f" * 60_000, "train.seed=" + "[" * 60_000):
        with bounded():
            ended = atlas("config", "show", "tiny", "--set", override)
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert len(ended.err) < 400


def test_a_configuration_may_come_through_a_pipe_of_bounded_size() -> None:
    """Kills: a shell's `<(command)` refused with the other pipes; one that writes for ever."""
    text = (Path(__file__).parents[3] / "atlas_ref/config/presets/tiny.toml").read_bytes()
    for content, taken in ((text, True), (b"#" * 60_000, False)):
        reading, writing = os.pipe()
        os.write(writing, content)
        os.close(writing)
        if taken:
            assert load_config(f"/dev/fd/{reading}") == load_config("tiny")
        else:
            with pytest.raises(UserError, match="model is missing"):
                load_config(f"/dev/fd/{reading}")
        os.close(reading)
