"""The examination of a program by canned messages: does it speak the protocol, whatever it computes?

Every step is one row of the result. A row that fails says what happened and what to do about it; the next is played all
the same, on a program started again where that is needed.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from atlas_ref.errors import UserError
from spec_tests.contract.driver import ask, prepare
from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.version import parse_version
from spec_tests.port import SPEC_VERSION, Array, Numerics, Op, Scalar, UnsupportedError
from spec_tests.process.client import Late, ProcessPort
from spec_tests.process.files import allowed_bytes, read_arrays, write_arrays
from spec_tests.process.program import Program
from spec_tests.process.protocol import PROTOCOL
from spec_tests.process.server import OK, UNSUPPORTED
from spec_tests.process.tiny import emptied_axis, tiny_config, tiny_inputs

UNKNOWN: Final = "no_such_thing"
"""An operation, configuration key or value that will never be."""

_ONCE: Final = "PROGRAM run --op OP --numerics f32 --config c.json --in a.safetensors --out b.safetensors"
_HELLO: Final = (
    f'Answer {{"cmd": "hello", ...}} with {{"protocol": {PROTOCOL}, "declaration": {{...}}}} on one line, flushed; '
    f"spec_version is {SPEC_VERSION}; `atlas port schema` prints every field."
)
_RUN: Final = (
    "`atlas port schema` prints the arrays of the operation; write and close the output file, then answer "
    '{"id": ..., "status": "ok"} on one line, and flush it.'
)
_REFUSE: Final = 'Answer {"id": ..., "status": "unsupported", "capability": ..., "reason": ...}; never guess.'
_EMPTY: Final = "An axis of an array may have length 0: its shape stands in the header, and it has no data."
_BYE: Final = 'Answer {"cmd": "bye"} with nothing, and end with exit code 0.'
_ALONE: Final = f"Answer `{_ONCE}` by the same code, write the file, and end with exit code 0."
_ONE_LINE: Final = "Answer each message with one line and no second one, then wait for the next, alive and silent."
_REFUSE_ALONE: Final = f"End `PROGRAM run ...` with exit code {UNSUPPORTED} where the answer would be unsupported."


@dataclass(frozen=True)
class Finding:
    """One row: what was tried, what went wrong (None where nothing did), and what to do about it."""

    step: str
    problem: str | None
    advice: str


def check(port: ProcessPort) -> Iterator[Finding]:
    """Play every canned message and yield what was found; a program that does not introduce itself gets one row."""
    examiner = _Examiner(port)
    before = _play("hello", examiner.hello, _HELLO)
    if before.problem is None:
        for step, play, advice in examiner.steps():
            first = port.cases + 1
            found = _play(step, play, advice)
            late = port.late()
            yield _late(before, [each for each in late if each.case < first])
            before = _late(found, [each for each in late if each.case >= first])
    yield before


def _late(found: Finding, late: Sequence[Late]) -> Finding:
    """Return a finding with what the program did after that step, unless it has a problem of its own."""
    words = "; ".join(each.words for each in late)
    return replace(found, problem=words, advice=_ONE_LINE) if words and found.problem is None else found


def _play(step: str, play: Callable[[], None], advice: str) -> Finding:
    try:
        play()
    except (AssertionError, UnsupportedError) as error:
        return Finding(step, str(error), advice)
    return Finding(step, None, advice)


class _Examiner:
    """The steps of the examination; each raises AssertionError (PortError and FormError are) with what is wrong."""

    def __init__(self, port: ProcessPort) -> None:
        self._port = port

    def hello(self) -> None:
        declared = self._port.declare()
        try:
            parse_version(declared.spec_version)
        except UserError as error:
            raise AssertionError(str(error).removesuffix(".")) from error
        _demand(bool(declared.numerics), "no precision is declared: numerics is empty")
        _demand(bool(declared.operations), "no operation is declared: operations is empty")
        self._numerics = declared.numerics
        self._ops = [op for op in OPERATIONS if op in declared.operations]

    def steps(self) -> Iterator[tuple[str, Callable[[], None], str]]:
        for op in self._ops:
            yield f"run {op}", partial(self.run, op), _RUN
        yield "an unknown operation", partial(self.refused, UNKNOWN, {}, {}), _REFUSE
        yield "unknown configuration keys", self.unknown_keys, _REFUSE
        if self._named_keys():
            yield "unknown configuration values", self.unknown_values, _REFUSE
        for op in [op for op in self._ops if emptied_axis(OPERATIONS[op])]:
            yield f"empty arrays ({op})", partial(self.run, op, empty=True), _EMPTY
        yield "bye", self.bye, _BYE
        for op in self._ops[:1]:
            yield f"one case by arguments ({op})", partial(self.alone, op), _ALONE
        yield "an unknown operation by arguments", self.refused_alone, _REFUSE_ALONE

    def run(self, op: Op, *, empty: bool = False) -> None:
        """Run a tiny case in every declared precision; every tap is asked for, none need be shown."""
        config, taps = tiny_config(op), frozenset(tap.name for tap in OPERATIONS[op].taps)
        for numerics in self._numerics:
            ask(self._port, op, config, self._given(op, numerics, empty=empty), numerics, taps)

    def refused(self, op: str, config: Mapping[str, Scalar], inputs: Mapping[str, Array]) -> None:
        try:
            self._port.run(op, config, inputs, numerics=self._numerics[0], taps=frozenset())
        except UnsupportedError:
            return
        raise AssertionError(f"{op} with {json.dumps(dict(config))} was answered as if it were known")

    def unknown_keys(self) -> None:
        for op in self._ops:
            self.refused(op, {**tiny_config(op), UNKNOWN: 1}, self._given(op, self._numerics[0]))

    def unknown_values(self) -> None:
        for op, key in self._named_keys():
            self.refused(op, {**tiny_config(op), key: UNKNOWN}, self._given(op, self._numerics[0]))

    def bye(self) -> None:
        code = self._port.bye()
        _demand(code == OK, f"the program ended with exit code {code}")

    def alone(self, op: Op) -> None:
        """Run a case by arguments alone; its outputs must have the names that the table gives them."""
        config, given = tiny_config(op), self._given(op, self._numerics[0])
        code, outputs = self._once(op, config, given)
        _demand(code == OK, f"the program ended with exit code {code}")
        expected = {tensor.name for tensor in OPERATIONS[op].outputs}
        _demand(set(outputs) == expected, f"the output file holds {sorted(outputs)}, expected {sorted(expected)}")

    def refused_alone(self) -> None:
        code, _ = self._once(UNKNOWN, {}, {})
        _demand(code == UNSUPPORTED, f"the program ended with exit code {code}")

    def _named_keys(self) -> list[tuple[Op, str]]:
        """Return the keys that take one of a list of names, with their operations."""
        configs = ((op, OPERATIONS[op].config) for op in self._ops)
        return [(op, key) for op, config in configs for key, allowed in config.items() if isinstance(allowed, tuple)]

    def _given(self, op: Op, numerics: Numerics, *, empty: bool = False) -> Mapping[str, Array]:
        return prepare(op, numerics, tiny_inputs(op, empty=empty), tiny_config(op))

    def _once(
        self, op: str, config: Mapping[str, Scalar], inputs: Mapping[str, Array]
    ) -> tuple[int, Mapping[str, Array]]:
        """Return the exit code of `PROGRAM run`, and the outputs where it is 0."""
        scratch = self._port.scratch()
        settings, given, answer = (scratch.path / name for name in ("config.json", "in.safetensors", "out.safetensors"))
        settings.write_text(json.dumps(dict(config)))
        write_arrays(given, inputs)
        answer.unlink(missing_ok=True)
        files = ["--config", str(settings), "--in", str(given), "--out", str(answer)]
        arguments = [*self._port.arguments, "run", "--op", op, "--numerics", self._numerics[0], *files]
        program = Program(arguments, scratch)
        try:
            code = program.wait(self._port.timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}{program.errors()}") from error
        finally:
            program.stop()
        return code, read_arrays(answer, allowed_bytes(op, config, inputs, frozenset())) if code == OK else {}


def _demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
