"""Signs of life between processes: one that is silent is named after a while, and not waited for without end.

Each process tells the others every few seconds, through the store of their rendezvous, that it runs and how many
exchanges it has begun. The first one watches the others, and the others watch the first one. A process is silent

    when nothing is heard of it: it was stopped, its machine is gone, or it never came;
    when the first one waits in an exchange that it has not begun: it runs, but hangs or is much slower.

The first process names both on standard error, again whenever the silence has become twice as long; at a limit the
process that waits ends, at once and with LOST_EXIT_CODE. To wait for the first one is no silence: it examines gates for
as long as they take, and its signs of life go on. An exchange that ends is a sign of life of all.

Time counts while this process itself runs: where all were stopped together, as by Ctrl-Z, none is blamed.
"""

import os
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NoReturn

from torch.distributed.distributed_c10d import Store

BEAT = 5.0
"""Seconds between two signs of life."""
NOTICE = 60.0
"""Seconds of silence after which a process is named."""
LIMIT = 600.0
"""Seconds without a sign of life after which a process counts as lost."""
LATE_LIMIT = 2 * 3600.0
"""The same for one that lives and does not come to an exchange: the others may have more to read than the first one."""
LOST_EXIT_CODE = 5
WAY_ON = "; go on from the last checkpoint with --resume auto."


@dataclass
class Meetings:
    """How many exchanges between all processes this one has begun and ended."""

    begun: int = 0
    ended: int = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count an exchange."""
        self.begun += 1
        yield
        self.ended += 1


@dataclass
class Silence:
    """For how many seconds each process has been silent in one manner."""

    manner: str
    seconds: dict[int, float] = field(default_factory=dict)
    _named: dict[int, float] = field(default_factory=dict)

    def add(self, passed: float, silent: Collection[int], heard: Collection[int]) -> list[str]:
        """Count `passed` seconds for those that were silent, from 0 again for those heard; return what is to say."""
        notices = []
        for rank in heard:
            self.seconds[rank] = 0.0
            if self._named.pop(rank, None) is not None:
                notices.append(f"process {rank} answers again")
        for rank in silent:
            self.seconds[rank] = self.seconds.get(rank, 0.0) + passed
            if self.seconds[rank] >= max(NOTICE, 2 * self._named.get(rank, 0.0)):
                self._named[rank] = self.seconds[rank]
                notices.append(self.words(rank))
        return notices

    def words(self, rank: int) -> str:
        """Return the silence of a process in words."""
        return f"process {rank} has not answered for {self.seconds[rank]:.0f} s{self.manner}"

    def lost(self, limit: float) -> int | None:
        """Return the first process whose silence has reached a limit."""
        return next((rank for rank, seconds in sorted(self.seconds.items()) if seconds >= limit), None)


class Heartbeat:
    """The signs of life of one process, and what it hears of others: two threads while `running`.

    One thread talks to the store, which may itself be in a process that was stopped; the other counts time.
    """

    def __init__(self, store: Store, rank: int, size: int, meetings: Meetings) -> None:
        self._store, self._rank, self._meetings = store, rank, meetings
        self._others = tuple(range(1, size)) if rank == 0 else (0,)
        self._signs: dict[int, tuple[int, int]] = {}
        self._known: dict[int, tuple[int, int]] = {}
        self._exchanges = 0
        self._ended = threading.Event()
        self._gone = Silence("")
        self._late = Silence(" (it runs, but has not come to where process 0 waits)")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Give signs of life and watch for those of others."""
        for action in (self._exchange, self._watch):
            threading.Thread(target=action, daemon=True).start()
        try:
            yield
        finally:
            self._ended.set()

    def _exchange(self) -> None:
        """Write the own signs and read the others', until the end or until the store has gone."""
        beats = 0
        try:
            while not self._ended.is_set():
                beats += 1
                self._store.set(_key(self._rank), f"{beats} {self._meetings.begun}")
                for rank in self._others:
                    if self._store.check([_key(rank)]):
                        beat, begun = self._store.get(_key(rank)).split()
                        self._signs[rank] = int(beat), int(begun)
                self._ended.wait(BEAT)
        except RuntimeError:
            # The first process holds the store; what has gone with it is silent from now on.
            return

    def _watch(self) -> None:
        before = time.monotonic()
        while not self._ended.wait(BEAT):
            now = time.monotonic()
            # A longer time was one in which this process did not run.
            self.tick(min(now - before, 2 * BEAT), dict(self._signs))
            before = now

    def tick(self, passed: float, signs: Mapping[int, tuple[int, int]]) -> None:
        """Count `passed` seconds; the last signs of others are now `signs`: a running number, and exchanges begun."""
        begun, ended = self._meetings.begun, self._meetings.ended
        met, heard = ended != self._exchanges, {rank for rank in signs if signs[rank] != self._known.get(rank)}
        self._exchanges, self._known = ended, dict(signs)
        everyone = set(self._others)
        notices = self._gone.add(passed, set() if met else everyone - heard, everyone if met else heard)
        if self._rank == 0:
            waited_for = {rank for rank, (_, other) in signs.items() if ended < begun and other < begun}
            # One that does not even live is named for that alone.
            alive = {rank for rank in everyone if self._gone.seconds.get(rank, 0.0) < NOTICE / 2}
            notices += self._late.add(passed, waited_for & alive, everyone - waited_for)
            for notice in notices:
                print(notice, file=sys.stderr, flush=True)
        for silence, limit in ((self._gone, LIMIT), (self._late, LATE_LIMIT)):
            if (rank := silence.lost(limit)) is not None:
                leave(silence.words(rank))


def _key(rank: int) -> str:
    return f"alive/{rank}"


def leave(words: str) -> NoReturn:
    """End this process from a thread, while its main thread waits for a process that does not come."""
    print(f"Error: {words}{WAY_ON}", file=sys.__stderr__, flush=True)
    os._exit(LOST_EXIT_CODE)
