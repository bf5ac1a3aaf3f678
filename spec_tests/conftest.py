"""Choice of the port under test, and one thread and one hypothesis profile for every run."""

import os

import pytest
import torch
from hypothesis import settings

from atlas_ref.errors import UserError
from spec_tests.port import Port
from spec_tests.ports.load import REFERENCE, load_port

torch.set_num_threads(1)
settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("ci")

PORT = pytest.StashKey[Port]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--port package.module:Factory`; without it the variable ATLAS_PORT counts, then the reference."""
    parser.addoption(
        "--port",
        default=os.environ.get("ATLAS_PORT", REFERENCE),
        metavar="PKG.MODULE:FACTORY",
        help="the implementation under test: a callable without arguments that returns a port",
    )


def pytest_sessionstart(session: pytest.Session) -> None:
    """Load the port once, before any test: a name that leads nowhere is one usage error, not one error a test."""
    try:
        session.config.stash[PORT] = load_port(session.config.getoption("--port"))
    except UserError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.fixture(scope="session")
def port(request: pytest.FixtureRequest) -> Port:
    """The implementation under test."""
    return request.config.stash[PORT]
