"""Programs for the tests of the protocol: a sound one in the standard library alone, and what to put wrong in it.

The sound program answers both of its operations with their own input: the protocol does not judge numbers. Statements
put into it run in a case whose configuration has eps = BAD, or at its start.
"""

import os
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import indent
from typing import Final, Protocol

from spec_tests.contract.driver import ask, prepare
from spec_tests.drawing.inputs import generator
from spec_tests.port import Array, Declaration, Numerics, Op, Scalar
from spec_tests.process.client import ProcessPort
from spec_tests.process.example import ExamplePort

GOOD: Final = 0.5
BAD: Final = 0.25
SHORT: Final = 0.3
"""Seconds that a test waits for a program that never answers."""
X: Final = generator(1).standard_normal((3, 4))

_SOUND: Final = '''
import json, os, struct, sys

STARTS = sys.argv[1]
with open(STARTS, "a") as log:
    log.write("started\\n")
STARTED = len(open(STARTS).readlines())
PROTOCOL, FIELD, SPEC, PRECISIONS, EXIT, REFUSED = 1, {}, "0.1", ["f32", "f64", "bf16_io"], 0, 3
OPS = {"l2_normalize": ("eps", "y"), "polynomial_features": ("basis", "features")}
BASES = ["monomial_weighted", "monomial", "kronecker", "elementwise"]

def put(text):
    sys.stdout.write(text)
    sys.stdout.flush()

def say(message):
    put(json.dumps(message) + "\\n")

def block():
    while sys.stdin.read(1):
        pass
    os.read(os.pipe()[0], 1)

def declare():
    declaration = dict(name="sound", version="1", language="python", spec_version=SPEC, operations=sorted(OPS),
                       capabilities=[], numerics=PRECISIONS, matmul_precision="full", **FIELD)
    say({"protocol": PROTOCOL, "declaration": declaration})

def write(path, header, data=b""):
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)

def read(path):
    with open(path, "rb") as file:
        size, = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        begin, end = header["x"]["data_offsets"]
        return {**header["x"], "data_offsets": [0, end - begin]}, file.read()[begin:end]

def refuse(case):
    """Return why the case is unknown, None where it is known."""
    if case["op"] not in OPS:
        return "no such operation"
    if set(case["config"]) != {OPS[case["op"]][0]}:
        return "no such key"
    if case["config"].get("basis", BASES[0]) not in BASES:
        return "no such value"

def compute(case):
    tensor, data = read(case["in"])
    write(case["out"], {OPS[case["op"]][1]: tensor}, data)

def done(case):
    say({"id": case["id"], "status": "ok"})

def bad(case):
    compute(case)
    done(case)

def answer(case):
    reason = refuse(case)
    if reason:
        say({"id": case["id"], "status": "unsupported", "capability": case["op"], "reason": reason})
    elif case["config"].get("eps") == 0.25:
        bad(case)
    else:
        compute(case)
        done(case)

def once(arguments):
    named = dict(zip(arguments[::2], arguments[1::2]))
    config = json.load(open(named["--config"]))
    case = {"op": named["--op"], "config": config, "in": named["--in"], "out": named["--out"]}
    if refuse(case):
        sys.exit(REFUSED)
    compute(case)

def serve():
    for line in sys.stdin:
        message = json.loads(line)
        if message["cmd"] == "bye":
            sys.exit(EXIT)
        declare() if message["cmd"] == "hello" else answer(message)

#CHANGES
once(sys.argv[3:]) if sys.argv[2:3] == ["run"] else serve()
'''


def program(folder: Path, changes: str = "") -> str:
    """Write the sound program with statements put in before it starts; return its command line."""
    script = folder / "program.py"
    script.write_text(_SOUND.replace("#CHANGES", changes))
    return shlex.join([sys.executable, "-S", "-E", str(script), str(folder / "starts")])


def misbehaving(statements: str) -> str:
    """Return the change that makes a bad case run these statements, with the name `case` and those of the program."""
    return f"def bad(case):\n{indent(statements, '    ')}"


def starts(folder: Path) -> int:
    """Return how often the program was started."""
    return (folder / "starts").read_text().count("started")


def asked(port: ProcessPort, eps: float = GOOD, numerics: Numerics = Numerics.F32) -> Mapping[str, Array]:
    """Run one case with the driver's checks of form."""
    config = {"eps": eps}
    return ask(port, Op.L2_NORMALIZE, config, prepare(Op.L2_NORMALIZE, numerics, {"x": X}, config), numerics)


class Opened(Protocol):
    """What the fixture of that name gives: it makes a port of the sound program with changes."""

    def __call__(self, changes: str = "", timeout: float = 10.0, hello_timeout: float = 10.0) -> ProcessPort:
        """Return the port, which is closed when the test ends."""
        ...


class Noisy:
    """The example port, printing at every level."""

    def declare(self) -> Declaration:
        return ExamplePort().declare()

    def run(
        self,
        op: str,
        config: Mapping[str, Scalar],
        inputs: Mapping[str, Array],
        *,
        numerics: Numerics,
        taps: frozenset[str],
    ) -> Mapping[str, Array]:
        print("from python")
        os.write(1, b"from below\n")
        if config["eps"] == 13.0:
            raise ZeroDivisionError("thirteen")
        return ExamplePort().run(op, config, inputs, numerics=numerics, taps=taps)


@contextmanager
def interrupt(after: float) -> Iterator[None]:
    """Press Ctrl-C after some seconds, unless the block ends before."""
    before = signal.signal(signal.SIGALRM, lambda number, frame: signal.raise_signal(signal.SIGINT))
    signal.setitimer(signal.ITIMER_REAL, after)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
