"""A call of a port, held so that whatever the port does to this process costs one case and not the run.

A port of this process can raise what is no `Exception` (SystemExit, KeyboardInterrupt, pytest's own skip), raise what
cannot even be printed, catch the user's Ctrl-C, or return twice (a fork). What ends the process itself, os._exit or a
signal, is seen from outside only (`spec_tests.report.guard`).
"""

import os
import signal
import threading
from collections.abc import Callable
from traceback import walk_tb
from types import FrameType, TracebackType
from typing import Final, TypeVar

from atlas_ref.wording import visible
from spec_tests.contract.outcome import PortError

Answer = TypeVar("Answer")

LONGEST: Final = 4000
"""Most characters of an exception's own message that are kept."""
PLACE: Final = "  at "
"""How the line begins that tells where a port raised."""
MACHINERY: Final = ("spec_tests.contract.contain", "spec_tests.contract.driver", "spec_tests.report.scope")
"""Modules of this suite that stand between a test and a port."""
TWIN: Final = 70
"""The exit code of a forked copy of this process, which must not go on with the suite."""


def contained(what: str, call: Callable[[], Answer], passing: tuple[type[BaseException], ...] = ()) -> Answer:
    """Return what a call of a port returns; PortError, which begins with `what`, for all that it raises.

    `passing` exceptions are let through, and so is the user's Ctrl-C, also where the port catches it.
    """
    here = os.getpid()
    with _Keyboard() as keyboard:
        try:
            answer = call()
        except BaseException as error:
            keyboard.check()
            # By its type: a stranger's class may say that it is another.
            if issubclass(type(error), passing):
                raise
            raise PortError(f"{what} raised {described(error)}") from error
        finally:
            if os.getpid() != here:
                os._exit(TWIN)
        keyboard.check()
    return answer


def described(error: BaseException) -> str:
    """Return the name of an exception's class and its message; either may break, or be endless, where it is printed."""
    message = message_of(error)
    return _plain(lambda: type(error).__name__) + (f": {message}" if message else "")


def place_of(error: BaseException | None) -> str:
    """Return a line with the last place of the port's own in the trace of an error, "" where the port has none there.

    The first frame outside this suite's machinery is the port's; what its package calls of others' is left out.
    """
    trace = list(walk_tb(error.__traceback__)) if error else []
    entered = next((frame for frame, _ in trace if not _module(frame).startswith(MACHINERY)), None)
    if entered is None:
        return ""
    frame, line = [found for found in trace if _family(found[0]) == _family(entered)][-1]
    code = frame.f_code
    return visible(f"\n{PLACE}{os.path.basename(code.co_filename)}:{line} in {code.co_name}", lines=True)


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _family(frame: FrameType) -> str:
    """Return the package that a frame's module belongs to; a port of this suite's has one of its own."""
    module = _module(frame)
    return module.rpartition(".")[0] if module.startswith("spec_tests.") else module.partition(".")[0]


def kind_of(value: object) -> str:
    """Return the name of the class of a stranger's value, with its article."""
    name = _plain(lambda: type(value).__name__)
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def message_of(error: BaseException) -> str:
    """Return what an exception says, cut where it is endless."""
    return _plain(lambda: str(error))


def _plain(say: Callable[[], str]) -> str:
    try:
        # The slice of a subclass of str is str itself: no code of a stranger's runs when it is printed.
        return visible(str.__getitem__(say(), slice(LONGEST)), lines=True)
    except BaseException:
        return "(what cannot be printed)"


class _Keyboard:
    """While entered, knows whether Ctrl-C was pressed: a port can raise KeyboardInterrupt by itself."""

    def __init__(self) -> None:
        self._pressed = False
        self._before: object = None

    def check(self) -> None:
        """Raise KeyboardInterrupt where it was pressed."""
        if self._pressed:
            raise KeyboardInterrupt

    def __enter__(self) -> "_Keyboard":
        # Python gives signals to the main thread alone.
        if threading.current_thread() is threading.main_thread():
            before = signal.getsignal(signal.SIGINT)
            if callable(before):
                self._before = before
                signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if callable(self._before):
            signal.signal(signal.SIGINT, self._before)

    def _press(self, number: int, frame: FrameType | None) -> None:
        self._pressed = True
        if callable(self._before):
            self._before(number, frame)
