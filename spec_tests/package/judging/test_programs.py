"""Programs that a model wrote: right ones pass, wrong ones do not, and hostile ones reach nothing.

Each program of a hostile test passes only where everything that it tries is refused. Every test names the mistake that
was put into the program by hand and that it caught.
"""

import socket
from pathlib import Path

import pytest

from atlas_ref.errors import UserError
from atlas_ref.judging import shut_off
from atlas_ref.judging.programs import SAID, Limits, Programs

SHORT = Limits(seconds=1, wall=20.0, memory=2**28)
REFUSED = """
import ctypes, os, resource
def refused(name, action):
    try:
        action()
    except (OSError, MemoryError, ImportError):
        return
    raise AssertionError(name)
"""
LIMITS = (
    REFUSED
    + """
def write():
    os.write(os.memfd_create("mine"), b"a")
assert resource.getrlimit(resource.RLIMIT_CPU) == (1, 1), "time"
refused("memory", lambda: bytearray(2**29))
refused("a byte into a file", write)
refused("a process", os.fork)
refused("files without end", lambda: [os.dup(3) for _ in range(99)])
assert {*os.environ} <= {"LC_CTYPE"}, "environment"
assert os.getuid() != 0, "root"
assert os.read(0, 1) == b"", "standard input"
"""
)
ISOLATED = (
    REFUSED
    + """
system = ctypes.CDLL(None, use_errno=True)
def connect():
    port = PORT
    number = system.socket(2, 1, 0)
    address = (2).to_bytes(2, "little") + port.to_bytes(2, "big") + bytes([127, 0, 0, 1]) + bytes(8)
    if number < 0 or system.connect(number, address, 16) < 0:
        raise OSError(ctypes.get_errno())
def mount():
    if system.mount(b"none", b"/", b"tmpfs", 0, None) < 0:
        raise OSError(ctypes.get_errno())
refused("the network", connect)
refused("a file", lambda: open("FILE"))
refused("removing a file", lambda: os.unlink("FILE"))
refused("other processes", lambda: os.kill(-1, 0))
refused("its parent", lambda: os.kill(os.getppid() or -1, 0))
refused("another root", lambda: os.chroot("."))
refused("mounts", mount)
refused("a module from a file", lambda: __import__("http.client"))
assert os.listdir("/") == [], "the folder is not empty"
"""
)


@pytest.fixture(scope="module")
def isolated() -> Programs:
    found = Programs("isolated", SHORT)
    try:
        found.prove()
    except UserError as error:
        if "cannot be isolated" not in str(error):
            raise
        pytest.skip(str(error))
    return found


def test_a_right_program_passes_and_a_wrong_one_does_not() -> None:
    """Kills: checks that are not run; only the first of them; an error taken for an end."""
    limited = Programs("limited", SHORT)
    right = "import math\n\ndef area(r):\n    return math.pi * r**2\n"
    assert limited.passes(right, ["assert area(0) == 0", "assert 3 < area(1) < 4"])
    assert not limited.passes(right, ["assert area(0) == 0", "assert area(1) == 3"])
    assert not limited.passes("def area(r) return", ["pass"])


def test_limits_hold_for_memory_files_processes_and_what_is_open() -> None:
    """Kills: each limit, left out; the environment handed on; root that stays root."""
    assert Programs("limited", SHORT).passes(LIMITS, ["pass"])


def test_limits_hold_for_an_isolated_program_too(isolated: Programs) -> None:
    """Kills: a first process of its own, for which what is signalled does not count."""
    assert isolated.passes(LIMITS, ["pass"])
    assert not isolated.passes("while True: pass", ["pass"])


def test_an_isolated_program_reaches_no_network_file_or_process(isolated: Programs, tmp_path: Path) -> None:
    """The same program finds all of them where it is not isolated. Kills: each namespace, the folder as root, the
    capabilities, left as they were.
    """
    file = tmp_path / "mine.txt"
    file.write_text("mine")
    with socket.create_server(("127.0.0.1", 0)) as server:
        program = ISOLATED.replace("FILE", str(file)).replace("PORT", str(server.getsockname()[1]))
        assert isolated.passes(program, ["pass"])
        reaches = program.partition('refused("a file"')[0]
        assert not isolated._replace(isolation="limited").passes(reaches, ["pass"])
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    "program",
    [
        "import os\nos._exit(0)",
        "raise SystemExit(0)",
        "import os\nwhile True: os.write(3, b'yes' * 100)",
        "import os\nos.write(3, b'word not: cannot')\nos.close(3)\nraise ValueError",
    ],
    ids=["leaves", "leaves politely", "says much", "says that it cannot"],
)
def test_a_program_that_does_not_come_to_its_checks_does_not_pass(program: str) -> None:
    """Kills: an exit code for a verdict; an answer that is read without end; one that stops the judge."""
    assert not Programs("limited", SHORT).passes(program, ["pass"])


def test_a_program_that_waits_is_ended_by_the_clock() -> None:
    assert not Programs("limited", Limits(1, 0.3)).passes("import time\ntime.sleep(60)", ["pass"])


def test_where_a_process_cannot_be_shut_off_none_is_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Kills: a program that runs all the same, with less isolation than was asked for."""
    script = tmp_path / "shut_off.py"
    source = Path(shut_off.__file__ or "").read_text()
    script.write_text(source.replace("system.unshare(NEW)", "system.unshare(1 << 31)"))
    monkeypatch.setattr(shut_off, "__file__", str(script))
    with pytest.raises(UserError, match=r"cannot be isolated on this machine \(.*unshare.*so none is run"):
        Programs("isolated", SHORT).prove()


def test_what_is_not_isolated_is_said() -> None:
    assert "NOT isolated" in SAID["limited"]
    assert all(word in SAID["limited"] for word in ("network", "other processes", "files"))
    assert all(word in SAID["isolated"] for word in ("network", "files", "processes", "time", "memory"))
