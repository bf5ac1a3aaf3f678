"""Silence between processes: who is named, when, and for what this process ends; time passes as the tests say.

Every test names the fault that was put into the program by hand and that it caught.
"""

from collections.abc import Callable, Iterable

import pytest
from torch._C._distributed_c10d import HashStore

from atlas_ref.processes import heartbeat
from atlas_ref.processes.heartbeat import Heartbeat, Meetings

Signs = dict[int, tuple[int, int]]


class LeftError(Exception):
    """The process would have ended."""


@pytest.fixture(autouse=True)
def stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise where the process would end."""

    def leave(words: str) -> None:
        raise LeftError(words)

    monkeypatch.setattr(heartbeat, "leave", leave)


def watched(rank: int = 0, size: int = 3) -> tuple[Heartbeat, Meetings]:
    """Return a heartbeat that is not running, and what it knows of the exchanges."""
    meetings = Meetings()
    return Heartbeat(HashStore(), rank, size, meetings), meetings


def pass_time(watch: Heartbeat, beats: Iterable[int], signs: Callable[[int], Signs]) -> None:
    """Let five seconds pass before each beat, at which these were the last signs."""
    for beat in beats:
        watch.tick(5.0, signs(beat))


def test_silence_is_said_at_one_minute_and_whenever_it_has_doubled(capsys: pytest.CaptureFixture[str]) -> None:
    """Kills: a line every five seconds; one line only; the silence of one process that ends with the sign of another;
    another limit than ten minutes."""
    watch, _ = watched()
    watch.tick(5.0, {1: (1, 0), 2: (1, 0)})
    pass_time(watch, range(2, 121), lambda beat: {1: (1, 0), 2: (beat, 0)})
    times = (60, 120, 240, 480)
    assert capsys.readouterr().err == "".join(f"process 1 has not answered for {s} s\n" for s in times)
    watch.tick(5.0, {1: (2, 0), 2: (121, 0)})
    assert capsys.readouterr().err == "process 1 answers again\n"
    with pytest.raises(LeftError, match="process 2 has not answered for 600 s"):
        pass_time(watch, range(3, 200), lambda beat: {1: (beat, 0), 2: (121, 0)})


def test_a_process_that_never_came_is_silent() -> None:
    """Kills: signs that are only compared with earlier ones."""
    watch, _ = watched()
    with pytest.raises(LeftError, match="process 2 has not answered for 600 s"):
        pass_time(watch, range(200), lambda beat: {1: (beat, 0)})


def test_an_exchange_that_ends_is_a_sign_of_life(capsys: pytest.CaptureFixture[str]) -> None:
    """Kills: a healthy run given up because the store of the rendezvous is out of reach."""
    watch, meetings = watched()
    for _ in range(500):
        with meetings.one():
            pass
        watch.tick(5.0, {})
    assert capsys.readouterr().err == ""


def test_a_process_that_is_late_is_named_and_not_given_up_as_early_as_one_that_is_gone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Kills: ten minutes of reading taken for death; no limit; one that waits where the first one does called late."""
    watch, meetings = watched()
    manner = "(it runs, but has not come to where process 0 waits)"
    with meetings.one():
        pass_time(watch, range(1, 1440), lambda beat: {1: (beat, 1), 2: (beat, 0)})
        times = (60, 120, 240, 480, 960, 1920, 3840)
        assert capsys.readouterr().err == "".join(f"process 2 has not answered for {s} s {manner}\n" for s in times)
        with pytest.raises(LeftError) as left:
            watch.tick(5.0, {1: (1440, 1), 2: (1440, 0)})
    assert str(left.value) == f"process 2 has not answered for 7200 s {manner}"


def test_a_process_that_is_gone_is_not_called_late_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    """Kills: two lines for one process, one of which says that it runs."""
    watch, meetings = watched()
    with meetings.one():
        watch.tick(5.0, {1: (1, 1), 2: (1, 0)})
        pass_time(watch, range(2, 121), lambda beat: {1: (beat, 1), 2: (1, 0)})
    times = (60, 120, 240, 480)
    assert capsys.readouterr().err == "".join(f"process 2 has not answered for {s} s\n" for s in times)


def test_the_others_wait_for_the_first_process_as_long_as_it_lives(capsys: pytest.CaptureFixture[str]) -> None:
    """Kills: a preflight of hours that the second process gives up; a first process that has stopped waited for all
    day; a second speaker on the terminal."""
    watch, meetings = watched(rank=1)
    with meetings.one():
        pass_time(watch, range(1, 5000), lambda beat: {0: (beat, 0)})
        with pytest.raises(LeftError, match="process 0 has not answered for 600 s"):
            pass_time(watch, range(200), lambda beat: {0: (4999, 0)})
    assert capsys.readouterr().err == ""
