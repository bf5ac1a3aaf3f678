"""Any Python port behind the process protocol: a whole program in one line.

    python -m spec_tests.process.server package.module:Factory            one JSON line a case, until `bye`
    python -m spec_tests.process.server package.module:Factory run ...    one case from files; exit 0, 3, or another

Standard output belongs to the protocol: whatever the port prints, from Python or from below it, goes to standard error.
A configuration key or value that the table of operations does not know is answered `unsupported` before the port sees
it.
"""

import argparse
import json
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from safetensors import SafetensorError
from safetensors.numpy import load

from atlas_ref.errors import UserError
from atlas_ref.wording import visible
from spec_tests.contract.contain import contained
from spec_tests.contract.operations import OPERATIONS
from spec_tests.port import Array, Declaration, Numerics, Op, Port, Scalar, UnsupportedError
from spec_tests.process.files import write_arrays
from spec_tests.process.load import load_port
from spec_tests.process.protocol import (
    Bye,
    ErrorReply,
    Hello,
    HelloReply,
    OkReply,
    ProtocolError,
    RunRequest,
    UnsupportedReply,
    hello_reply,
    parse_request,
)

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
UNSUPPORTED: Final = 3
"""Exit codes of one case."""


def serve(port: Port, stdin: BinaryIO, stdout: BinaryIO) -> None:
    """Answer every line of `stdin` on `stdout`, until `bye` or the end of the input; the port prints to stderr."""
    declaration = port.declare()
    with redirect_stdout(sys.stderr):
        for line in stdin:
            reply = _answer(port, declaration, line)
            if reply is None:
                return
            stdout.write(reply.line())
            stdout.flush()


def run_once(
    port: Port, op: str, numerics: Numerics, config: Path, given: Path, answer: Path, taps: frozenset[str]
) -> int:
    """Run one case from files; return 0, 3 for unsupported, 1 for an error, the reason on standard error.

    `config` is a JSON object, `given` and `answer` are safetensors files. UserError where the first two cannot be used.
    """
    values, arrays = read_config(config), read_given(given)
    try:
        run = partial(checked_run, port, op, values, arrays, numerics, taps)
        write_arrays(answer, contained("the port", run, passing=(Exception,)))
    except UnsupportedError as error:
        print(visible(f"unsupported: {error}", lines=True), file=sys.stderr)
        return UNSUPPORTED
    except AssertionError as error:
        # What a port in another process did wrong; its trace would be that of this program.
        print(visible(f"error: {error}", lines=True), file=sys.stderr)
        return FAILED
    except Exception:
        traceback.print_exc()
        return FAILED
    return OK


def checked_run(
    port: Port,
    op: str,
    config: Mapping[str, Scalar],
    inputs: Mapping[str, Array],
    numerics: Numerics,
    taps: frozenset[str],
) -> Mapping[str, Array]:
    """Run a case that the table knows and the port declares; UnsupportedError for any other."""
    _refuse(port.declare(), op, config, numerics)
    return port.run(op, config, inputs, numerics=numerics, taps=taps)


def parse_taps(op: str, text: str) -> frozenset[str]:
    """Return the taps of a list separated by commas; UserError for one that a known operation does not have."""
    taps = frozenset(filter(None, text.split(",")))
    known = {tap.name for tap in OPERATIONS[Op(op)].taps} if op in OPERATIONS else taps
    if unknown := sorted(taps - known):
        names = ", ".join(sorted(known)) or "none"
        raise UserError(f"--taps {text}: {op} has no tap '{unknown[0]}'; it has {names}.")
    return taps


def read_config(path: Path) -> dict[str, Scalar]:
    """Read a configuration; UserError where the file holds no JSON object of plain values."""
    try:
        values = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path}: {error}; expected a JSON object.") from error
    if not isinstance(values, dict) or not all(isinstance(v, bool | int | float | str) for v in values.values()):
        raise UserError(f"{path}: expected a JSON object whose values are numbers, strings or booleans.")
    return values


def read_given(path: Path) -> dict[str, Array]:
    """Read the inputs of a case; UserError where the file is not safetensors of numpy's types."""
    try:
        return dict(load(path.read_bytes()))
    except (SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"{path}: {error}; expected a safetensors file of F64, F32 and I64 arrays.") from error


def _answer(
    port: Port, declaration: Declaration, line: bytes
) -> HelloReply | OkReply | UnsupportedReply | ErrorReply | None:
    try:
        request = parse_request(line)
    except ProtocolError as error:
        return ErrorReply(id="", message=str(error))
    if isinstance(request, Bye):
        return None
    return hello_reply(declaration) if isinstance(request, Hello) else _run(port, request)


def _run(port: Port, request: RunRequest) -> OkReply | UnsupportedReply | ErrorReply:
    try:
        inputs = read_given(Path(request.given))
        taps = frozenset(request.taps)
        outputs = checked_run(port, request.op, request.config, inputs, request.numerics, taps)
        write_arrays(Path(request.answer), outputs)
    except UnsupportedError as error:
        return UnsupportedReply(id=request.id, capability=error.capability, reason=str(error))
    except Exception as error:
        traceback.print_exc()
        return ErrorReply(id=request.id, message=f"{type(error).__name__}: {error}")
    return OkReply(id=request.id)


def _refuse(declaration: Declaration, op: str, config: Mapping[str, Scalar], numerics: Numerics) -> None:
    if op not in OPERATIONS or op not in declaration.operations:
        raise UnsupportedError(f"'{declaration.name}' has no operation '{op}'", capability=op)
    if numerics not in declaration.numerics:
        raise UnsupportedError(f"'{declaration.name}' does not declare the precision {numerics}", capability=numerics)
    known = OPERATIONS[Op(op)].config
    for key, value in config.items():
        if key not in known:
            raise UnsupportedError(f"{op} has no configuration key '{key}'", capability=op)
        if not _fits(known[key], value):
            raise UnsupportedError(f"{op}: '{key}' cannot be {value!r}", capability=op)


def _fits(allowed: type[Scalar] | tuple[str, ...], value: Scalar) -> bool:
    if isinstance(allowed, tuple):
        return value in allowed
    if isinstance(value, bool):
        return allowed is bool
    return isinstance(value, (int, float) if allowed is float else allowed)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve a port, or run one case with it; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        with _protocol_stdout() as stdout:
            port = load_port(options.port)
            if options.command is None:
                serve(port, sys.stdin.buffer, stdout)
                return OK
            numerics, taps = Numerics(options.numerics), parse_taps(options.op, options.taps)
            return run_once(port, options.op, numerics, options.config, options.given, options.answer, taps)
    except (UserError, OSError) as error:
        print(visible(f"Error: {error}", lines=True), file=sys.stderr)
        return USAGE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="port", description="Serve a Python port over the process protocol.")
    parser.add_argument("port", metavar="PACKAGE.MODULE:FACTORY", help="a callable that returns the port")
    once = parser.add_subparsers(dest="command").add_parser("run", help="run one case from files")
    once.add_argument("--op", required=True)
    once.add_argument("--numerics", required=True, choices=[str(numerics) for numerics in Numerics])
    once.add_argument("--config", required=True, type=Path)
    once.add_argument("--in", required=True, type=Path, dest="given")
    once.add_argument("--out", required=True, type=Path, dest="answer")
    once.add_argument("--taps", default="", metavar="A,B")
    return parser


@contextmanager
def _protocol_stdout() -> Iterator[BinaryIO]:
    """Yield the real standard output, and let the descriptor that everything else prints to be standard error."""
    sys.stdout.flush()
    real = os.dup(1)
    os.dup2(2, 1)
    try:
        # The reader may be gone before the last line: that is its affair.
        with suppress(BrokenPipeError), open(real, "wb", closefd=False) as stdout:
            yield stdout
    finally:
        sys.stdout.flush()
        os.dup2(real, 1)
        os.close(real)


if __name__ == "__main__":
    sys.exit(main())
