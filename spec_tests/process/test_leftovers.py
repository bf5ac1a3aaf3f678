"""What a program takes pains to leave behind: no process survives it, and its directory goes wherever it was put."""

import os
from pathlib import Path

import pytest

from spec_tests.contract.outcome import PortError
from spec_tests.process.life import Life
from spec_tests.process.scripts import BAD, Opened, asked, misbehaving, starts

STAY = "os.read(os.pipe()[0], 1)\n"
GRANDCHILDREN = {
    "a session of its own": f"if os.fork() == 0:\n    os.setsid()\n    {STAY}",
    "a daemon": f"if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: {STAY}    os._exit(0)\n",
    "a daemon without the pipes": (
        "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        f"        for number in (0, 1, 2): os.close(number)\n        {STAY}    os._exit(0)\n"
    ),
    "one that is deaf": (
        "import signal\nif os.fork() == 0:\n    os.setsid()\n"
        "    for number in set(signal.Signals) - {9, 19}: signal.signal(number, signal.SIG_IGN)\n"
        f"    {STAY}"
    ),
    "many": f"for _ in range(20):\n    if os.fork() == 0:\n        os.setsid()\n        {STAY}",
}


@pytest.mark.parametrize("name", GRANDCHILDREN)
def test_no_grandchild_outlives_the_program(name: str, opened: Opened, life: Life) -> None:
    port = opened(life.change + misbehaving(GRANDCHILDREN[name] + "os._exit(7)"))
    with pytest.raises(PortError, match="exit code 7"):
        asked(port, BAD)
    assert life.ends()


def test_no_grandchild_outlives_the_port(opened: Opened, life: Life) -> None:
    port = opened(life.change + misbehaving(GRANDCHILDREN["a daemon"] + "compute(case); done(case)"))
    asked(port, BAD)
    port.close()
    assert life.ends()


def test_a_program_that_kills_what_stands_above_it_ends_with_it(opened: Opened, life: Life, tmp_path: Path) -> None:
    port = opened(life.change + misbehaving(f"if os.fork() == 0: {STAY}os.kill(os.getppid(), 9); block()"))
    with pytest.raises(PortError, match="killed by signal 9"):
        asked(port, BAD)
    assert life.ends()
    asked(port)
    assert starts(tmp_path) == 2


HERE = "here = os.path.dirname(case['in'])\n"
MOVES = {
    "to another name": "os.rename(here, here + '-moved')",
    "into a directory of its own": "os.mkdir(here + '-moved'); os.rename(here, here + '-moved/inner')",
    "with folders too deep for any stack": (
        "import sys\nplace = os.open(here, os.O_RDONLY)\n"
        "for _ in range(1500):\n"
        "    os.mkdir('deep', dir_fd=place); inner = os.open('deep', os.O_RDONLY, dir_fd=place)\n"
        "    os.close(place); place = inner\n"
        "os.rename(here, here + '-moved')"
    ),
    "with folders that nobody may read": (
        "os.makedirs(here + '/a/b'); os.chmod(here + '/a', 0); os.chmod(here, 0); os.rename(here, here + '-moved')"
    ),
    "with a link in its place": "os.rename(here, here + '-moved'); os.symlink(os.path.dirname(STARTS), here)",
}


@pytest.mark.parametrize("name", MOVES)
def test_a_directory_that_is_moved_away_is_removed_and_replaced(name: str, opened: Opened, tmp_path: Path) -> None:
    port = opened(misbehaving(HERE + MOVES[name] + "\nsay({'id': case['id'], 'status': 'error', 'message': 'moved'})"))
    asked(port)
    first = port.scratch()
    mine = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(PortError, match="moved"):
        asked(port, BAD)
    asked(port)
    second = port.scratch()
    assert second.path != first.path
    port.close()
    moved = first.path.with_name(first.path.name + "-moved")
    made_by_the_program = {"into a directory of its own": moved, "with a link in its place": first.path}.get(name)
    left = [path for path in (second.path, first.path, moved, moved / "inner") if os.path.lexists(path)]
    assert left == [path for path in (made_by_the_program,) if path]
    assert sorted(path.name for path in tmp_path.iterdir()) == mine
    for path in left:
        (path.unlink if path.is_symlink() else path.rmdir)()
