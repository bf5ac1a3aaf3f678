"""What signals do: at any moment they end a command without a traceback, and training saves first.

A batch system says so some time before it kills: SIGTERM from `scancel`, Kubernetes, or Slurm at the end of the time
limit, SIGUSR1 or SIGUSR2 where a job asks for it, SIGHUP when a terminal closes. The exit code is 128 plus the number
of the signal, as a shell reports it: 130 after Ctrl-C, 143 after SIGTERM. So a job script can tell "requeue me" (143)
from "done" (0) and from a failure. A signal that is ignored when the command starts, as nohup has it, stays ignored.
"""

import atexit
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

SIGNAL_EXIT_CODE = 128
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""What asks a process to end, and leaves it the time to save."""
PATIENCE = 3
"""The signal of a kind that ends the process at once: the first is obeyed, the second asks back."""
IMPORT_MACHINERY = "<frozen importlib"
SHOW_CURSOR = b"\x1b[?25h\n"


@contextmanager
def at_any_moment() -> Iterator[None]:
    """Let Ctrl-C end the block with exit code 130, whatever it finds there, and the interpreter after it in silence.

    In the middle of an import nothing is raised: a module that is half there makes errors of its own later on.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield
        return
    heard = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal heard
        heard = True
        if _imports(frame):
            leave(SIGNAL_EXIT_CODE + number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except BaseException:
        if heard:
            # Whatever it became on its way up, in code that takes it for a failure of its own.
            raise SystemExit(SIGNAL_EXIT_CODE + signal.SIGINT) from None
        raise
    finally:
        signal.signal(signal.SIGINT, before)
        # Nothing is left to save or to say then; a handler of Python would show where the interpreter is.
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_DFL)


def leave(code: int) -> NoReturn:
    """End the process at once, from any thread, with the cursor that a progress bar may have hidden."""
    with suppress(OSError):
        if os.isatty(2):
            os.write(2, SHOW_CURSOR)
    os._exit(code)


def _imports(frame: FrameType | None) -> bool:
    """Return whether a module is being imported."""
    while frame is not None:
        if frame.f_code.co_filename.startswith(IMPORT_MACHINERY):
            return True
        frame = frame.f_back
    return False


class StopRequest:
    """While entered, the first signal of a kind sets `signal`, the second asks back, the third ends the process.

    What happens is said on standard error at once, by a thread: Python hears of a signal only when the step in progress
    comes back from the library that computes it. `newest_saved` returns the last saved step, None before the first;
    without it nothing is said. Kinds count apart: torchrun passes a Ctrl-C on as SIGTERM too, and schedulers repeat.
    """

    def __init__(self, newest_saved: Callable[[], int | None] | None = None) -> None:
        self.signal: int | None = None
        self._newest_saved = newest_saved
        self._before: dict[signal.Signals, Any] = {}
        self._heard: Counter[int] = Counter()
        self._ends = (-1, -1)
        self._wakeup_before = -1
        self._listener = threading.Thread(target=self._listen, name="signals", daemon=True)

    def __call__(self) -> bool:
        """Return whether the process was asked to stop."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """The exit code of a process that ends because it was asked to."""
        return SIGNAL_EXIT_CODE + (self.signal or signal.SIGINT)

    def __enter__(self) -> Self:
        self._ends = os.pipe()
        os.set_blocking(self._ends[1], False)
        self._listener.start()
        self._wakeup_before = signal.set_wakeup_fd(self._ends[1], warn_on_full_buffer=False)
        for number in SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                self._before[number] = signal.signal(number, self._request)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._ends[1])
        self._listener.join()
        os.close(self._ends[0])

    def _request(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.signal = self.signal or number

    def _listen(self) -> None:
        """Answer each signal when it comes; the other end of the pipe is closed at the end."""
        while numbers := os.read(self._ends[0], 64):
            for number in numbers:
                if number in self._before:
                    self._answer(signal.Signals(number))

    def _answer(self, number: signal.Signals) -> None:
        self._heard[number] += 1
        name = "Ctrl-C" if number == signal.SIGINT else number.name
        if self._heard[number] >= PATIENCE:
            leave(SIGNAL_EXIT_CODE + number)
        if self._newest_saved is None:
            return
        if self._heard[number] == 1:
            _tell(f"{name}: the step in progress is finished and saved; then the exit code is {128 + number}")
        else:
            _tell(f"{name} again: still finishing and saving. A third {name} ends at once and loses {self._loss()}")

    def _loss(self) -> str:
        """Return what a process that ended now would lose."""
        try:
            step = self._newest_saved() if self._newest_saved else None
        except OSError:
            return "every step since the newest checkpoint"
        return "every step, as none is saved yet" if step is None else f"every step after step {step}"


def _tell(text: str) -> None:
    """Write a line to standard error, past the buffers that the main thread may be in the middle of."""
    with suppress(OSError):
        line_break = "\n" if os.isatty(2) else ""
        os.write(2, f"{line_break}{text}\n".encode())
