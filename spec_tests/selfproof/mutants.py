"""The generic mutants of the reference, put through the suite: which survive, and why they may.

Each mutant meets the checks that pass through its function, the quickest first, until one fails, in a process of its
own: what it leaves behind, such as a wrong number in a cache or eyes that stay shut (`atlas_ref.functional.looking`),
would fail the checks of the mutants after it. Survivors that change nothing the specification speaks of stand in
`equivalent.toml` with the reason; any other survivor is a hole.
"""

import importlib
import pkgutil
import signal
import tomllib
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from types import FrameType
from typing import Final

import pytest

from spec_tests.selfproof.checks import PACKAGES, Check, place
from spec_tests.selfproof.mutate import Mutant, functions_of, mutants_of
from spec_tests.selfproof.sharing import apart

EQUIVALENT: Final = Path(__file__).with_name("equivalent.toml")
PATIENCE: Final = 20.0
"""Seconds of a processor, beyond ten times what the sound reference took, after which a check counts as failed, as a
mutant may loop. Not of a clock: on a busy machine sound checks would fail by it."""
ENOUGH: Final = 40.0
"""Seconds of checks, as measured on the sound reference, after which a mutant counts as a survivor."""
BRIEF: Final = 5.0
"""The same of a mutant that is argued: enough to see that nothing kills it at once."""
DEATH: Final = "the end of its process"
"""What a mutant is killed by that no check survives."""


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: the check that failed, or none; and what argument says that none need fail."""

    mutant: Mutant
    killed_by: str | None
    reason: str | None

    @property
    def hole(self) -> bool:
        """Whether the mutant survived without a reason."""
        return self.killed_by is None and self.reason is None


def every_module() -> Iterator[str]:
    """Yield the name of every module of the reference that the suite is about."""
    for package in PACKAGES:
        path = importlib.import_module(package).__path__
        yield from (module.name for module in pkgutil.iter_modules(path, f"{package}."))


def every_mutant(modules: Container[str] | None = None) -> Iterator[Mutant]:
    """Yield the mutants of every module of the reference that the suite is about, or of those named."""
    for name in every_module():
        if modules is None or name in modules:
            for function in functions_of(importlib.import_module(name)):
                yield from mutants_of(function)


def killer(mutant: Mutant, checks: list[Check], enough: float) -> str | None:
    """Return the name of the check that a mutant fails, None where it survives `enough` seconds of them.

    `checks` are tried in their order, the first in any case.
    """
    spent = 0.0
    with mutant.alive():
        for check in checks:
            spent += check.seconds
            if spent > enough and check is not checks[0]:
                break
            if _fails(check):
                return check.name
    return None


def key(mutant: Mutant) -> str:
    """Return the name of a mutant with the text of its line for the number, so that it outlives edits above it."""
    return f"{mutant.function.__module__}:{mutant.function.__qualname__}: {mutant.text}: {mutant.change}"


def _fails(check: Check) -> bool:
    try:
        with _deadline(PATIENCE + 10.0 * check.seconds):
            check.call()
    except pytest.skip.Exception:
        return False
    except (Exception, pytest.fail.Exception):
        # What `pytest.raises` misses is no Exception, so that no test catches it.
        return True
    return False


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    def stop(_: int, __: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGPROF, stop)
    # Again every second: an error raised inside a callback of the interpreter is ignored.
    signal.setitimer(signal.ITIMER_PROF, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)


def reasons() -> dict[str, str]:
    """Return why each listed survivor changes nothing, by its name."""
    listed: dict[str, str] = tomllib.loads(EQUIVALENT.read_text())["equivalent"]
    return listed


def judge_all(checks: list[Check], mutants: Sequence[Mutant]) -> list[Verdict]:
    """Judge the mutants of one function by the checks that reach it, each mutant in a process of its own.

    What killed another of them is tried first, then the quickest.
    """
    known, verdicts = reasons(), []
    lethal: set[str | None] = set()
    for mutant in mutants:
        sound = place(mutant.function.__code__)
        reaching = [((check.name not in lethal, check.seconds), check) for check in checks if sound in check.reaches]
        verdict = judge(mutant, [check for _, check in sorted(reaching, key=itemgetter(0))], known)
        lethal.add(verdict.killed_by)
        verdicts.append(verdict)
    return verdicts


def judge(mutant: Mutant, checks: list[Check], reasons: dict[str, str]) -> Verdict:
    """Return the fate of one mutant, which is found in a process that ends with it."""
    reason = reasons.get(key(mutant))
    for check in checks[:1]:
        # On the sound reference: what it imports at its first use is imported here, once for all mutants.
        _fails(check)
    try:
        killed_by = apart(lambda: killer(mutant, checks, BRIEF if reason else ENOUGH))
    except EOFError:
        killed_by = DEATH
    return Verdict(mutant, killed_by, reason)


def needless(verdicts: Sequence[Verdict]) -> list[str]:
    """Return the arguments that no mutant needs, as a check kills every one of which they speak, a line each."""
    spared = {key(verdict.mutant) for verdict in verdicts if verdict.killed_by is None}
    killed = {key(verdict.mutant): verdict.killed_by for verdict in verdicts if verdict.reason}
    return [f"argued, and yet {check} kills it: {name}" for name, check in killed.items() if name not in spared]
