"""From the name of a port to the port: `package.module:Factory` in this process, `cmd:./program` in another."""

from functools import partial
from importlib import import_module
from typing import Final

from atlas_ref.errors import UserError, without_reference
from spec_tests.contract.contain import contained
from spec_tests.contract.outcome import PortError
from spec_tests.port import Port

REFERENCE: Final = "spec_tests.ports.reference:ReferencePort"
COMMAND: Final = "cmd:"


def load_port(name: str) -> Port:
    """Return the port of that name; raise UserError with one sentence that says what could not be found."""
    if name.startswith(COMMAND):
        from spec_tests.process.client import ProcessPort

        return ProcessPort(name.removeprefix(COMMAND))
    try:
        return contained("it", partial(_made, name), passing=(UserError,))
    except PortError as error:
        raise UserError(f"--port {name}: it does not start: {error}.") from error


def _made(name: str) -> Port:
    module, _, factory = name.partition(":")
    try:
        port: Port = getattr(import_module(module), factory)()
    except UserError as error:
        # The name is right: what is missing is what the port says.
        raise UserError(f"--port {name}: {error}") from error
    except (ImportError, AttributeError, ValueError) as error:
        missing = without_reference(error) if name == REFERENCE and isinstance(error, ImportError) else None
        expected = f"expected package.module:Factory or {COMMAND}PROGRAM"
        raise UserError(f"--port {name}: {missing or error}; {expected}.") from error
    return port
