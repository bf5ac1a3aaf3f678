"""The messages of the process protocol, version 1, and what a program answers read strictly.

One message is one line of JSON. The driver sends `hello`, then any number of `run`, then `bye`; the program answers
each but the last, in order, on standard output, which carries nothing else. Tensors travel in safetensors files whose
paths stand in the message. Deliberately strict on both sides: a field too many is a misunderstanding, and is named.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.json_schema import models_json_schema

from atlas_ref.wording import visible
from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.outcome import PortError
from spec_tests.contract.schema import Operation, TensorSchema
from spec_tests.port import SPEC_VERSION, Declaration, Feature, Numerics, Op, Scalar

PROTOCOL: Final = 1
SUITE: Final = "0.1"
SHOWN: Final = 200
"""Most characters of a program's own line that a message repeats."""

FILE_TYPES: Final[Mapping[Numerics, str]] = {Numerics.F64: "F64", Numerics.F32: "F32", Numerics.BF16_IO: "F32"}
"""The safetensors type of floating-point arrays; index arrays are I64."""

_SCALARS: Final[Mapping[type[Scalar], str]] = {bool: "boolean", int: "integer", float: "number", str: "string"}


class ProtocolError(PortError):
    """A program's line is not one of the protocol: from here on, nothing it says can be told apart."""


class Message(BaseModel):
    """A line of the protocol."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_by_name=True, serialize_by_alias=True
    )

    def line(self) -> bytes:
        """Return the message as it is sent."""
        return self.model_dump_json().encode() + b"\n"


class Hello(Message):
    """The first message: what the driver speaks."""

    cmd: Literal["hello"] = "hello"
    protocol: int = PROTOCOL
    suite: str = SUITE


class RunRequest(Message):
    """One case: the inputs stand in the file `in`, the outputs go into the file `out`."""

    cmd: Literal["run"] = "run"
    id: str
    op: str
    config: dict[str, bool | int | float | str]
    numerics: Numerics
    taps: tuple[str, ...]
    given: str = Field(validation_alias="in", serialization_alias="in")
    answer: str = Field(validation_alias="out", serialization_alias="out")


class Bye(Message):
    """The last message: the program ends with exit code 0 and answers nothing."""

    cmd: Literal["bye"] = "bye"


class DeclarationMessage(Message):
    """What a program says about itself."""

    name: str
    version: str
    language: str
    spec_version: str
    operations: tuple[Op, ...]
    capabilities: tuple[str, ...]
    numerics: tuple[Numerics, ...]
    matmul_precision: str
    only: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    longest: dict[str, int] = Field(default_factory=dict)
    without: tuple[Feature, ...] = ()

    def declaration(self) -> Declaration:
        """Return it as the contract in this process has it."""
        fields = dict(self)
        sets = {
            "operations": frozenset(self.operations),
            "capabilities": frozenset(self.capabilities),
            "without": frozenset(self.without),
            "only": {key: frozenset(values) for key, values in self.only.items()},
        }
        return Declaration(**{**fields, **sets})


class HelloReply(Message):
    """The answer to `hello`."""

    protocol: int
    declaration: DeclarationMessage


class OkReply(Message):
    """The outputs are in the file `out`, which is written and closed."""

    id: str
    status: Literal["ok"] = "ok"


class UnsupportedReply(Message):
    """The program does not do this case: an unknown operation, configuration key or value included."""

    id: str
    status: Literal["unsupported"] = "unsupported"
    capability: str
    reason: str


class ErrorReply(Message):
    """The program could not do this case, and goes on."""

    id: str
    status: Literal["error"] = "error"
    message: str


Request = Annotated[Hello | RunRequest | Bye, Field(discriminator="cmd")]
Reply = Annotated[OkReply | UnsupportedReply | ErrorReply, Field(discriminator="status")]

_REQUEST: Final[TypeAdapter[Hello | RunRequest | Bye]] = TypeAdapter(Request)
_REPLY: Final[TypeAdapter[OkReply | UnsupportedReply | ErrorReply]] = TypeAdapter(Reply)


def parse_request(line: bytes) -> Hello | RunRequest | Bye:
    """Read a line of the driver; ProtocolError where it is not one."""
    try:
        return _REQUEST.validate_json(line)
    except ValidationError as error:
        raise _misread(line, error) from error


def parse_reply(line: bytes) -> OkReply | UnsupportedReply | ErrorReply:
    """Read a program's answer to `run`; ProtocolError where it is not one."""
    try:
        return _REPLY.validate_json(line)
    except ValidationError as error:
        raise _misread(line, error) from error


def parse_hello_reply(line: bytes) -> Declaration:
    """Read a program's answer to `hello`; ProtocolError where it is not one, or is of another version."""
    try:
        reply = HelloReply.model_validate_json(line)
    except ValidationError as error:
        raise _misread(line, error) from error
    if reply.protocol != PROTOCOL:
        raise ProtocolError(f"the program speaks protocol {reply.protocol}, this suite speaks {PROTOCOL}")
    return reply.declaration.declaration()


def hello_reply(declaration: Declaration) -> HelloReply:
    """Return the answer to `hello` of a port in this process; lists are sorted, so the line is always the same."""
    fields = {
        **vars(declaration),
        "operations": tuple(sorted(declaration.operations)),
        "capabilities": tuple(sorted(declaration.capabilities)),
        "without": tuple(Feature(name) for name in sorted(declaration.without)),
        "only": {key: tuple(sorted(values)) for key, values in declaration.only.items()},
    }
    return HelloReply(protocol=PROTOCOL, declaration=DeclarationMessage(**fields))


def shown(text: bytes) -> str:
    """Return what a program printed as it stands in a message: quoted, and cut where it is long."""
    decoded = text.decode(errors="replace").rstrip("\r\n")
    return repr(decoded[:SHOWN]) + (" ..." if len(decoded) > SHOWN else "")


def stray(text: bytes) -> ProtocolError:
    """Return the error for a line that is no message at all."""
    return ProtocolError(
        f"standard output carries protocol lines only, one for each message, but the program printed {shown(text)}; "
        "print everything else to standard error"
    )


def _misread(line: bytes, error: ValidationError) -> ProtocolError:
    first = error.errors()[0]
    if first["type"] in ("json_invalid", "model_type", "model_attributes_type", "dict_type"):
        return stray(line)
    place = visible(".".join(str(part) for part in first["loc"])) or "message"
    return ProtocolError(f"not a message of protocol {PROTOCOL}: {place}: {first['msg']}; the line is {shown(line)}")


def schema() -> dict[str, Any]:
    """Return, in JSON Schema, every message, and with it the table of operations: all that a port needs to know."""
    messages: tuple[type[Message], ...] = (Hello, RunRequest, Bye, HelloReply, OkReply, UnsupportedReply, ErrorReply)
    _, definitions = models_json_schema([(message, "validation") for message in messages])
    return {
        "protocol": PROTOCOL,
        "suite": SUITE,
        "spec_version": SPEC_VERSION,
        "requests": [{"$ref": f"#/$defs/{message.__name__}"} for message in messages[:3]],
        "replies": [{"$ref": f"#/$defs/{message.__name__}"} for message in messages[3:]],
        "types": {"floating": FILE_TYPES, "index": "I64"},
        "operations": [_operation(row) for row in OPERATIONS.values()],
        **definitions,
    }


def _operation(row: Operation) -> dict[str, Any]:
    return {
        "op": row.op,
        "level": row.level,
        "config": {key: _values(allowed) for key, allowed in row.config.items()},
        "inputs": [_tensor(tensor) for tensor in row.inputs],
        "outputs": [_tensor(tensor) for tensor in row.outputs],
        "taps": [_tensor(tensor) for tensor in row.taps],
    }


def _values(allowed: type[Scalar] | tuple[str, ...]) -> dict[str, Any]:
    return {"enum": list(allowed)} if isinstance(allowed, tuple) else {"type": _SCALARS[allowed]}


def _tensor(tensor: TensorSchema) -> dict[str, Any]:
    return {"name": tensor.name, "axes": list(tensor.axes), "role": tensor.role}
