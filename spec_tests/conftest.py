"""Choice of the port under test, and one thread and one hypothesis profile for every run."""

import os
from importlib import import_module

import pytest
import torch
from hypothesis import settings

from spec_tests.port import Port

torch.set_num_threads(1)
settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("ci")

REFERENCE = "spec_tests.ports.reference:ReferencePort"
PORT = pytest.StashKey[Port]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--port package.module:Factory`; without it the variable ATLAS_PORT counts, then the reference."""
    parser.addoption(
        "--port",
        default=os.environ.get("ATLAS_PORT", REFERENCE),
        metavar="PKG.MODULE:FACTORY",
        help="the implementation under test: a callable without arguments that returns a port",
    )


def load_port(name: str) -> Port:
    """Import and call the factory `package.module:Factory`; raise a usage error that names what could not be found."""
    module, _, factory = name.partition(":")
    try:
        port: Port = getattr(import_module(module), factory)()
    except (ImportError, AttributeError, ValueError) as error:
        raise pytest.UsageError(f"--port {name}: {error}; expected package.module:Factory") from error
    return port


def pytest_sessionstart(session: pytest.Session) -> None:
    """Load the port once, before any test: a name that leads nowhere is one usage error, not one error a test."""
    session.config.stash[PORT] = load_port(session.config.getoption("--port"))


@pytest.fixture(scope="session")
def port(request: pytest.FixtureRequest) -> Port:
    """The implementation under test."""
    return request.config.stash[PORT]
