"""Standard output and standard error when nobody listens any more: a reader that ends, a terminal that closes.

A command whose product is its output ends then as SIGPIPE would end it, with exit code 141 and no word. Training goes
on, as its product is in files (`output_may_end`). What cannot be written to standard error is lost without harm.
"""

import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from typing import TextIO, cast

GONE = (errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO, errno.ECONNRESET, errno.ENOTCONN)
"""What a write says once the other end of a pipe, a socket or a terminal is not there any more."""
NO_READER_EXIT_CODE = 141


class Output:
    """A text stream whose writes may fail: the first one that does is told to `on_loss`, where there is one.

    Without it a reader that is gone ends the program, and any other failure is an error that names the stream. There is
    no `buffer` here, through which others would write past this class.
    """

    def __init__(self, stream: TextIO, name: str, on_loss: Callable[[str], None] | None) -> None:
        self._stream = stream
        self._name = name
        self.on_loss = on_loss
        self.lost: str | None = None

    def write(self, text: str) -> int:
        """Write a text."""
        with self._guarded():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what waits in the buffer."""
        with self._guarded():
            self._stream.flush()

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            gone, why = error.errno in GONE, error.strerror or str(error)
            if gone:
                self._forget_the_reader()
            if self.on_loss is None:
                raise (SystemExit(NO_READER_EXIT_CODE) if gone else OSError(error.errno, why, self._name)) from None
            if self.lost is None:
                self.lost = why
                self.on_loss(why)

    def _forget_the_reader(self) -> None:
        """Let what still waits in buffers, here or in other libraries, go nowhere."""
        with contextlib.suppress(OSError), open(os.devnull, "w", encoding="utf-8") as nowhere:
            os.dup2(nowhere.fileno(), self._stream.fileno())

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return its descriptor; OSError where it has none."""
        return self._stream.fileno()

    def writable(self) -> bool:
        """Return True."""
        return True

    @property
    def encoding(self) -> str:
        """The encoding of what is written."""
        return self._stream.encoding


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Guard both streams meanwhile, and let them spell out what their encoding lacks, as `\\xe9` in ASCII."""
    _open_what_is_closed()
    before = sys.stdout, sys.stderr
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.stdout = cast(TextIO, Output(sys.stdout, "standard output", None))
    sys.stderr = cast(TextIO, Output(sys.stderr, "standard error", lambda _: None))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


@contextlib.contextmanager
def output_may_end(consequence: str) -> Iterator[Callable[[], str | None]]:
    """Let writes to standard output fail meanwhile; provide why the first one did, None while none has.

    It is said once on standard error, together with the `consequence`.
    """
    stream, errors = sys.stdout, sys.stderr
    if not isinstance(stream, Output):
        yield lambda: None
        return

    def tell(why: str) -> None:
        errors.write(f"standard output cannot be written any more ({why}): {consequence}\n")
        errors.flush()

    stream.on_loss = tell
    try:
        yield lambda: stream.lost
    finally:
        stream.on_loss = None


def _open_what_is_closed() -> None:
    """Open nowhere in the place of a closed descriptor 0, 1 or 2: or the next file gets its number, and messages."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
