"""Choice of the port under test, and one thread and one hypothesis profile for every run."""

import os
import sys

import pytest
from hypothesis import settings

from spec_tests.port import Port
from spec_tests.report.options import add_options
from spec_tests.report.plugin import install

# More threads make small tensors slower. A port that does not use torch never waits for its import.
os.environ["OMP_NUM_THREADS"] = "1"
if "torch" in sys.modules:
    sys.modules["torch"].set_num_threads(1)
settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("explore", derandomize=False, deadline=None, print_blob=True, max_examples=1000)
settings.load_profile("ci")

PORT = pytest.StashKey[Port]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--port` and the other options of a conformance run."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Load the port once, before any test: a name that leads nowhere is one usage error, not one error a test."""
    config.addinivalue_line("markers", "spec(*ids): the numbered sentences of docs/spec that the test holds")
    config.addinivalue_line("markers", "case(id, level, op, numerics, requirements): a stored vector in one precision")
    if config.getoption("--explore"):
        settings.load_profile("explore")
    config.stash[PORT] = install(config)


@pytest.fixture(scope="session")
def port(request: pytest.FixtureRequest) -> Port:
    """The implementation under test, which declares what this run asks of it."""
    return request.config.stash[PORT]
