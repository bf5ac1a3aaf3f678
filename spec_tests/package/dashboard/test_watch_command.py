"""`atlas watch` and `atlas train --watch`: what they refuse and say, and a page that lives as long as its training."""

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cli.dashboard import beside as beside_module
from cli.dashboard.beside import beside
from spec_tests.package.cli.made_runs import made
from spec_tests.package.dashboard.served import told
from spec_tests.package.micro.command import Atlas
from spec_tests.package.micro.process import in_a_process
from spec_tests.package.micro.runs import UNEXAMINED, micro_file

SPOKEN_TO = """
import signal, sys
from pathlib import Path
from cli.dashboard.beside import beside
with beside(Path(sys.argv[1])) as address:
    print(address, flush=True)
    signal.pause()
"""


@pytest.mark.parametrize(
    ("places", "said"),
    [
        (["a_file"], "a_file: is not a directory; name run directories, or folders of them."),
        ([], "runs: is not there; name run directories, or folders of them."),
    ],
)
def test_a_place_that_can_hold_no_run_is_one_sentence(
    places: list[str], said: str, atlas: Atlas, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Kills: a page without anything, for a path that was mistyped."""
    monkeypatch.chdir(tmp_path)
    Path("a_file").touch()
    ended = atlas("watch", *places)
    assert (ended.code, ended.out, ended.err) == (2, "", f"Error: {said}\n")


@pytest.mark.parametrize("command", [("watch", "."), ("train", "--watch")])
def test_without_the_package_that_serves_it_says_how_to_get_it(
    command: tuple[str, ...], atlas: Atlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a traceback, or a training that begins and then ends for want of its page."""
    find = importlib.util.find_spec
    monkeypatch.setattr("cli.watch.find_spec", lambda name: None if name == "uvicorn" else find(name))
    ended = atlas(*command)
    who = "atlas watch" if command[0] == "watch" else "--watch"
    assert ended.code == 2
    assert ended.err == f"Error: {who} needs starlette and uvicorn; in a checkout: pip install '.[watch]'\n"


def test_the_page_beside_a_training_ends_with_its_block(tmp_path: Path) -> None:
    """Kills: a server that goes on; one that shows another directory than that of the run."""
    with beside(made(tmp_path / "run")) as site:
        (row,) = told(site, "/runs")
        assert (row["name"], row["step"]) == ("run", 6)
    with pytest.raises(ConnectionRefusedError):
        told(site, "/runs")


def test_the_page_of_a_training_that_was_killed_ends_by_itself(tmp_path: Path) -> None:
    """Kills: a server that outlives a process which could not say goodbye."""
    training = in_a_process("-c", SPOKEN_TO, str(made(tmp_path / "run")))
    assert training.stdout is not None
    site = training.stdout.readline().strip()
    with socket.create_connection((urlsplit(site).hostname or "", urlsplit(site).port or 0), timeout=30) as connection:
        told(site, "/runs")
        os.kill(training.pid, signal.SIGKILL)
        # The server closes what is open when it ends.
        assert connection.recv(1) == b""
    training.communicate()


def test_a_page_that_was_closed_first_does_not_disturb_the_training() -> None:
    """Kills: a training that fails at its end because its page is gone."""
    server = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.PIPE)
    server.wait()
    beside_module.end(server)


def test_a_training_serves_its_page_from_its_gates_to_its_end_and_says_where(
    atlas: Atlas, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Kills: an option that nothing reads; a page that is opened after the gates, or closed before the last step."""
    run = tmp_path / "run"
    seen: list[bool] = []

    @contextlib.contextmanager
    def noted(directory: Path) -> Iterator[str]:
        assert directory == run
        seen.append(run.exists())
        yield "http://127.0.0.1:1/"
        seen.append((run / "summary.json").exists())

    monkeypatch.setattr(beside_module, "beside", noted)
    ended = atlas(
        "train", "--watch", "--config", micro_file(tmp_path / "a.toml"), "--max-steps", 1, "--out", run, *UNEXAMINED
    )
    assert ended.code == 0, ended.err
    assert "watch it at http://127.0.0.1:1/\n" in ended.out
    assert seen == [False, True]
