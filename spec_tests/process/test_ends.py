"""What a program leaves behind: no process, no file, and nothing that reaches the next case."""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spec_tests.contract.outcome import FormError, PortError
from spec_tests.process import keeper
from spec_tests.process.life import Life, hearing_interrupts
from spec_tests.process.scripts import BAD, SHORT, Opened, asked, interrupt, misbehaving, program

RAISED = "import signal; signal.raise_signal(signal.SIGHUP)"


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
    assert list(port.scratch().path.iterdir()) == []
    asked(port)


def test_closing_ends_the_program_and_removes_its_files(opened: Opened, life: Life) -> None:
    port = opened(life.change)
    asked(port)
    scratch = port.scratch().path
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
    assert list(port.scratch().path.iterdir()) == []


FORGETFUL = """
import os, sys
from spec_tests.process.client import ProcessPort
from spec_tests.process.life import Life, hearing_interrupts
from spec_tests.process.scripts import asked
port = ProcessPort(sys.argv[1])
asked(port)
path = port.scratch().path
print(path, path.is_dir(), flush=True)
if sys.argv[2] == "interrupted":
    raise KeyboardInterrupt
if sys.argv[2] == "killed":
    os.kill(os.getpid(), 9)
"""
KEEPER = "with open(STARTS + '.keeper', 'w') as file: file.write(str(os.getppid()))\n"


@pytest.mark.parametrize("end", ["interrupted", "normal", "killed"])
def test_the_end_of_the_suite_takes_program_and_files_with_it(end: str, life: Life, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FORGETFUL, program(tmp_path, KEEPER + life.change), end],
        capture_output=True,
        text=True,
        timeout=60,
    )
    scratch, existed = ended.stdout.split()
    assert existed == "True"
    assert life.ends()
    assert ends(int((tmp_path / "starts.keeper").read_text()))
    assert not Path(scratch).exists()
    assert (ended.returncode != 0) == (end != "normal")


def test_a_program_that_ends_before_the_suite_is_seen_to_have_ended_leaves_no_files(tmp_path: Path) -> None:
    """A killed suite closes its ends one by one, and a program may leave at the first: its keeper sees that alone.

    Kills: a keeper that asks whether the suite is there only while the program is.
    """
    folder = tmp_path / "scratch"
    folder.mkdir()
    (folder / "array").write_text("1")
    scratch = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    suite, control = socket.socketpair()
    given = (control.fileno(), scratch)
    command = [sys.executable, "-I", "-S", keeper.__file__, *map(str, given), str(folder), "sleep", "60"]
    with subprocess.Popen(command, pass_fds=given):
        control.close()
        program = int(suite.recv(64).removeprefix(keeper.STARTED))
        os.kill(program, signal.SIGKILL)
        assert ends(program)
        # Seen to have ended is what its keeper has waited for: then nobody has its number.
        deadline = time.monotonic() + 5.0
        while Path(f"/proc/{program}").exists() and time.monotonic() < deadline:
            os.sched_yield()
        suite.close()
    os.close(scratch)
    assert not folder.exists()


def ends(process: int) -> bool:
    """Return whether a process of anyone's ends within five seconds."""
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return True
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    ended = bool(poll.poll(5000))
    os.close(descriptor)
    return ended


def test_a_run_that_began_deaf_to_ctrl_c_hears_it_within_a_test_and_is_deaf_again_after() -> None:
    """Kills: `make test &` in a script, where a test waits for ever for what a signal should end."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with hearing_interrupts(), pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_program_started_under_nohup_hears_its_terminal_close_and_the_run_goes_on() -> None:
    """Kills: `nohup pytest &`, where a test waits for ever for a run that was told to end."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with hearing_interrupts():
            signal.raise_signal(signal.SIGHUP)
            ended = subprocess.run([sys.executable, "-c", RAISED], check=False)
        assert (ended.returncode, signal.getsignal(signal.SIGHUP)) == (-signal.SIGHUP, signal.SIG_IGN)
    finally:
        signal.signal(signal.SIGHUP, before)
