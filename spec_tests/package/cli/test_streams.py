"""Standard output that goes away: training goes on, and a command whose product is its output ends in silence.

Every test names the fault that was put into the program by hand, or the behaviour before, that it caught.
"""

import contextlib
import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from atlas_ref.config import to_toml
from cli.streams import standard_streams
from spec_tests.package.micro.command import Atlas
from spec_tests.package.micro.process import ROOT
from spec_tests.package.micro.runs import UNEXAMINED, metric_lines, micro_config, saved_bytes, start, without_timing

CONFIG = micro_config("model.n_layers=1", "data.sequence_length=16")


class Failing(io.StringIO):
    """A stream whose writes fail after the first few."""

    def __init__(self, number: int, after: int) -> None:
        super().__init__()
        self._number, self._left = number, after

    def write(self, text: str) -> int:
        self._left -= 1
        if self._left < 0:
            raise OSError(self._number, os.strerror(self._number))
        return super().write(text)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose output was read."""
    path = tmp_path_factory.mktemp("whole") / "run"
    start(CONFIG, path)
    return path


@pytest.mark.parametrize(("number", "after"), [(errno.EPIPE, 0), (errno.EIO, 3), (errno.ENOSPC, 3)])
def test_training_goes_on_without_its_output_and_says_so(
    atlas: Atlas, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, after: int
) -> None:
    """Kills: a reader that ends, a terminal that closes or a full disk below the redirected output that ends training;
    nothing that tells of it; a word about it at each line.
    """
    config = tmp_path / "config.toml"
    config.write_text(to_toml(CONFIG))
    monkeypatch.setattr(sys, "stdout", Failing(number, after))
    ended = atlas("train", *UNEXAMINED, "--config", config, "--out", tmp_path / "run")
    why = os.strerror(number)
    goes_on = "training goes on; its log is metrics.jsonl in the run directory"
    assert (ended.code, ended.err) == (0, f"standard output cannot be written any more ({why}): {goes_on}\n")
    (only,) = json.loads((tmp_path / "run" / "env.json").read_text())
    assert only["output_lost"] == why
    assert saved_bytes(tmp_path / "run") == saved_bytes(whole)
    assert without_timing(metric_lines(tmp_path / "run")) == without_timing(metric_lines(whole))


def test_a_run_whose_errors_nobody_reads_goes_on_too(
    atlas: Atlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a run that ends because the warning could not be given."""
    config = tmp_path / "config.toml"
    config.write_text(to_toml(CONFIG))
    monkeypatch.setattr(sys, "stdout", Failing(errno.EIO, 0))
    monkeypatch.setattr(sys, "stderr", Failing(errno.EIO, 0))
    assert atlas("train", *UNEXAMINED, "--config", config, "--out", tmp_path / "run").code == 0
    # An error keeps its exit code.
    assert atlas("eval", tmp_path / "nowhere").code == 2


@pytest.mark.parametrize("command", ["--help", "config show", "runs RUN", "generate RUN"])
def test_a_command_whose_reader_is_gone_ends_in_silence(
    atlas: Atlas, whole: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Kills: exit code 1, a defect of this program; a message about a pipe; text that is made for nobody."""
    monkeypatch.setattr(sys, "stdout", Failing(errno.EPIPE, 1 if command == "generate RUN" else 0))
    assert atlas(*(whole if word == "RUN" else word for word in command.split())) == (141, "", "")


def test_a_full_disk_below_the_output_is_one_sentence(atlas: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a config that is cut off, with exit code 0; an error that names no file."""
    monkeypatch.setattr(sys, "stdout", Failing(errno.ENOSPC, 0))
    assert atlas("config", "show")[::2] == (2, "Error: standard output: No space left on device\n")


def test_what_waits_in_a_buffer_is_missed_too() -> None:
    """Kills: a loss that is found by the interpreter on its way out, exit code 120 and a message of its own."""
    probe = "from cli.main import main; import sys; sys.argv = ['atlas', 'config', 'show']; main()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", probe]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_a_closed_stream_is_not_reused_by_a_file_of_the_run(tmp_path: Path) -> None:
    """Kills: a log or a checkpoint that is opened as descriptor 2, and into which messages are written."""
    probe = (
        "import os\nfrom cli.streams import standard_streams\nwith standard_streams():\n"
        f"    with open({str(tmp_path / 'file')!r}, 'w') as file:\n"
        "        os.write(2, b'a message')\n"
        "        print('a line', flush=True)\n"
        "        file.write(str(file.fileno()))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    script = f'exec "{sys.executable}" -c "$0" <&- >&- 2>&-'
    assert subprocess.run(["sh", "-c", script, probe], env=environment, check=False).returncode == 0
    assert int((tmp_path / "file").read_text()) > 2


def test_the_streams_are_put_back() -> None:
    """Kills: a guard around a guard for each command of a process."""
    before = sys.stdout, sys.stderr
    with contextlib.suppress(ValueError), standard_streams():
        guarded = sys.stdout, sys.stderr
        raise ValueError
    assert guarded != before
    assert (sys.stdout, sys.stderr) == before
