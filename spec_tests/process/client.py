"""A port in another process, seen as a port in this one.

The program is started when it is first needed, asked one case at a time, and replaced when it can no longer be trusted:
after a crash, a silence, or a line that is not of the protocol. Whatever it does costs the case in hand and no other;
only three losses in a row end the patience. What it does after its answer, when nobody asks, is kept for the case that
was in hand then (`late`): the next one starts on a new program.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, TypeVar

from atlas_ref.wording import visible
from spec_tests.contract.outcome import PortError
from spec_tests.port import Array, Declaration, Numerics, Scalar, UnsupportedError
from spec_tests.process.command import SECONDS, seconds_allowed, split
from spec_tests.process.files import allowed_bytes, read_arrays, write_arrays
from spec_tests.process.program import Program, UnheardError
from spec_tests.process.protocol import (
    ErrorReply,
    Hello,
    OkReply,
    ProtocolError,
    RunRequest,
    UnsupportedReply,
    parse_hello_reply,
    parse_reply,
)
from spec_tests.process.scratch import Scratch

PATIENCE: Final = 3
"""Losses in a row after which the program is not started again."""
TEXT: Final = 2000
"""Most characters of a program's own explanation that a message repeats."""

Answer = TypeVar("Answer")


class LateError(PortError):
    """The program answers an earlier case once more."""

    def __init__(self, case: int, words: str) -> None:
        super().__init__(words)
        self.case = case


NOT_OF_THE_CASE: Final = (LateError, UnheardError)
AFTERWARDS: Final = "after its answer, when nobody asked"


@dataclass(frozen=True)
class Late:
    """What a program did after the answer to a case, which is numbered from 1 (0: the introduction)."""

    case: int
    words: str


class ProcessPort:
    """The program behind a command line.

    `timeout`: seconds for a case (ATLAS_PORT_TIMEOUT where it is not given, else 60). `hello_timeout`: seconds for
    the first answer, the start of the program included.
    """

    def __init__(self, command: str, *, timeout: float | None = None, hello_timeout: float = SECONDS) -> None:
        self.command = command
        self.arguments = split(command)
        self.timeout = seconds_allowed() if timeout is None else timeout
        self._hello_timeout = hello_timeout
        self._scratch: Scratch | None = None
        self._program: Program | None = None
        self._declaration: Declaration | None = None
        self._losses: list[str] = []
        self._late: list[Late] = []
        self.cases = 0

    def declare(self) -> Declaration:
        """Ask the program what it is, once; PortError where it does not say."""
        if self._declaration is None:
            self._ready()
        assert self._declaration is not None
        return self._declaration

    def run(
        self,
        op: str,
        config: Mapping[str, Scalar],
        inputs: Mapping[str, Array],
        *,
        numerics: Numerics,
        taps: frozenset[str],
    ) -> Mapping[str, Array]:
        """Ask the program to run one operation; PortError or FormError in one sentence, whatever it does."""
        self._ready()
        self.cases += 1
        given, answer = (self.scratch().path / f"{self.cases}.{end}.safetensors" for end in ("in", "out"))
        request = RunRequest(
            id=str(self.cases),
            op=op,
            config=dict(config),
            numerics=numerics,
            taps=tuple(sorted(taps)),
            given=str(given),
            answer=str(answer),
        )
        # Names can be foreseen: what a program left under them earlier is neither written through nor read.
        _remove(given, answer)
        try:
            write_arrays(given, inputs)
            self._ask(request)
            return read_arrays(answer, allowed_bytes(op, config, inputs, taps))
        finally:
            _remove(given, answer)

    def late(self) -> tuple[Late, ...]:
        """Return, each once, what the program did after an answer and before the next question."""
        if self._program is not None:
            self._look(self._program)
        late = tuple(self._late)
        self._late.clear()
        return late

    def scratch(self) -> Scratch:
        """Return the directory of this port's files; it goes when the port does."""
        if self._scratch is not None and not self._scratch.in_place:  # A program can move or remove it too.
            self._scratch.remove()
            self._scratch = None
        self._scratch = self._scratch or Scratch()
        return self._scratch

    def bye(self) -> int:
        """End the program politely and return its exit code; PortError where it does not end."""
        program = self._ready()
        try:
            return program.bye(self.timeout)
        except PortError as error:
            raise PortError(f"bye: {error}{program.errors()}") from error
        finally:
            self._drop(program)

    def close(self) -> None:
        """End the program and remove the files; another case would start it again."""
        if self._program is not None:
            self._program.close()
            self._program = None
        if self._scratch is not None:
            self._scratch.remove()
            self._scratch = None

    def __enter__(self) -> "ProcessPort":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ready(self) -> Program:
        """Return the running program, started where it is not, or is not to be trusted any more."""
        if self._program is not None:
            self._look(self._program)
        if self._program is not None and self._scratch is not None and not self._scratch.in_place:
            self._drop(self._program)
        if self._program is None:
            if len(self._losses) >= PATIENCE:
                raise PortError(
                    f"{self.command}: stopped after three crashes in a row (hangs and stray lines count); "
                    f"the last: {self._losses[-1]}"
                )
            self._program = self._start()
        return self._program

    def _start(self) -> Program:
        try:
            program = Program(self.arguments, self.scratch())
        except OSError as error:
            self._losses.append(f"it cannot be started: {error.strerror}")
            raise PortError(f"{self.command}: cannot be started: {error.strerror}") from error
        declared = self._exchange(program, "hello", Hello().line(), self._hello_timeout, self._same_declaration)
        self._declaration = declared
        return program

    def _same_declaration(self, line: bytes) -> Declaration:
        declared = parse_hello_reply(line)
        if self._declaration not in (None, declared):
            raise ProtocolError("started again, the program declares something else than before")
        return declared

    def _ask(self, request: RunRequest) -> None:
        """Return when the program says that it has answered; raise what it says otherwise."""
        reply = self._timely(request)
        self._losses.clear()
        if isinstance(reply, UnsupportedReply):
            raise UnsupportedError(visible(reply.reason[:TEXT], lines=True), capability=reply.capability)
        if isinstance(reply, ErrorReply):
            said = visible(reply.message[:TEXT], lines=True)
            raise PortError(f"{request.op}: the program answers with an error: {said}{self._errors()}")

    def _timely(self, request: RunRequest) -> OkReply | UnsupportedReply | ErrorReply:
        """Return the answer to this case; what belongs to an earlier one is kept for that, and this is asked anew."""
        read = partial(_reply_to, request.id)
        try:
            return self._exchange(
                self._ready(), request.op, request.line(), self.timeout, read, passing=NOT_OF_THE_CASE
            )
        except LateError as error:
            self._late.append(Late(error.case, f"answered twice: {error}"))
        except UnheardError as error:
            self._late.append(Late(self.cases - 1, f"{AFTERWARDS}: {error}"))
        return self._exchange(self._ready(), request.op, request.line(), self.timeout, read)

    def _errors(self) -> str:
        return self._program.errors() if self._program else ""

    def _exchange(
        self,
        program: Program,
        what: str,
        message: bytes,
        seconds: float,
        read: Callable[[bytes], Answer],
        passing: tuple[type[PortError], ...] = (),
    ) -> Answer:
        """Send a line and read the answer; a program that fails to give one is ended, and that is a loss.

        `passing` errors say that the program failed earlier: they are no loss, and let through.
        """
        try:
            answer = read(program.ask(message, seconds))
            program.demand_silence()
            return answer
        except passing:
            self._drop(program)
            raise
        except PortError as error:
            self._losses.append(str(error))
            shown = program.errors()
            self._drop(program)
            raise PortError(f"{what}: {error}{shown}") from error
        except BaseException:
            # Interrupted half-way, the program would give this answer to the next question.
            self._drop(program)
            raise

    def _look(self, program: Program) -> None:
        """Keep for the last case what a program did since its answer, and let go of a program that did anything."""
        try:
            program.demand_rest()
        except PortError as error:
            self._late.append(Late(self.cases, f"{AFTERWARDS}: {error}{program.errors()}"))
            self._drop(program)

    def _drop(self, program: Program) -> None:
        program.stop()
        self._program = None


def _remove(*paths: Path) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink()


def _reply_to(case: str, line: bytes) -> OkReply | UnsupportedReply | ErrorReply:
    reply = parse_reply(line)
    if reply.id.isdecimal() and 0 < int(reply.id) < int(case):
        raise LateError(int(reply.id), f"while case {case} was in hand, the program answered case {reply.id} again")
    if reply.id != case:
        raise ProtocolError(f"the program answers case '{reply.id[:40]}', but was asked for case '{case}'")
    return reply
