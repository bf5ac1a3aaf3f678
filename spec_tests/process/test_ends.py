"""What a program leaves behind: no process, no file, and nothing that reaches the next case."""

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from spec_tests.outcome import FormError, PortError
from spec_tests.process.scripts import BAD, SHORT, Opened, asked, interrupt, misbehaving, program


@pytest.fixture
def life(tmp_path: Path) -> Iterator["Life"]:
    """A named pipe whose other end is open as long as a process of the program lives."""
    path = tmp_path / "life"
    os.mkfifo(path)
    yield (watched := Life(path))
    os.close(watched.descriptor)


class Life:
    """The end of every process that opened the pipe, seen without asking for process ids."""

    def __init__(self, path: Path) -> None:
        self.change = f"LIFE = open({str(path)!r}, 'w')\n"
        self.descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def ends(self) -> bool:
        """Return whether the last process ends within five seconds."""
        poll = select.poll()
        poll.register(self.descriptor, select.POLLHUP)
        return bool(poll.poll(5000))


@pytest.mark.parametrize(
    ("last", "timeout", "words"), [("block()", SHORT, "no answer"), ("os._exit(7)", 10.0, "exit code 7")]
)
def test_no_process_of_a_program_outlives_it(last: str, timeout: float, words: str, opened: Opened, life: Life) -> None:
    child = "if os.fork() == 0:\n    block()\n"
    port = opened(life.change + misbehaving(child + last), timeout=timeout)
    with pytest.raises(PortError, match=words):
        asked(port, BAD)
    assert life.ends()


def test_an_interrupt_ends_the_program_and_leaves_no_files(opened: Opened, life: Life) -> None:
    port = opened(life.change + misbehaving("block()"))
    asked(port)
    with interrupt(after=SHORT), pytest.raises(KeyboardInterrupt):
        asked(port, BAD)
    assert life.ends()
    assert list(port.scratch().iterdir()) == []
    asked(port)


def test_closing_ends_the_program_and_removes_its_files(opened: Opened, life: Life) -> None:
    port = opened(life.change)
    asked(port)
    scratch = port.scratch()
    assert scratch.is_dir()
    port.close()
    assert life.ends()
    assert not scratch.exists()


NEXT = "path = os.path.join(os.path.dirname(case['in']), str(int(case['id']) + 1)); compute(case); "
TRAPS = {
    "an answer in advance": NEXT + "compute({**case, 'out': path + '.out.safetensors'})",
    "a pipe for the next inputs": NEXT + "os.mkfifo(path + '.in.safetensors')",
    "the directory removed": "import shutil; shutil.rmtree(os.path.dirname(case['in'])); os._exit(7)",
}


@pytest.mark.parametrize("name", TRAPS)
def test_nothing_that_a_program_leaves_behind_reaches_the_next_case(name: str, opened: Opened) -> None:
    lazy = "global compute\n" + TRAPS[name] + "\ndone(case)\ncompute = lambda case: None"
    port = opened(misbehaving(lazy))
    with interrupt(after=20.0):
        if name == "the directory removed":
            with pytest.raises(PortError, match="exit code 7"):
                asked(port, BAD)
            asked(port)
        else:
            asked(port, BAD)
            with pytest.raises(FormError, match="was not written"):
                asked(port)
    assert list(port.scratch().iterdir()) == []


FORGETFUL = """
import sys
from spec_tests.process.client import ProcessPort
from spec_tests.process.scripts import asked
port = ProcessPort(sys.argv[1])
asked(port)
print(port.scratch(), port.scratch().is_dir(), flush=True)
if sys.argv[2] == "interrupted":
    raise KeyboardInterrupt
"""


@pytest.mark.parametrize("end", ["interrupted", "normal"])
def test_the_end_of_the_suite_takes_program_and_files_with_it(end: str, life: Life, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FORGETFUL, program(tmp_path, life.change), end],
        capture_output=True,
        text=True,
        timeout=60,
    )
    scratch, existed = ended.stdout.split()
    assert existed == "True"
    assert not Path(scratch).exists()
    assert life.ends()
    assert (ended.returncode != 0) == (end == "interrupted")
