"""Ports of the sound program with something put wrong, closed when the test ends."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from spec_tests.process.client import ProcessPort
from spec_tests.process.scripts import Opened, program


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """Make the port of the sound program with changes; a case and a first answer have a short time."""
    ports = []

    def make(changes: str = "", timeout: float = 10.0, hello_timeout: float = 10.0) -> ProcessPort:
        ports.append(ProcessPort(program(tmp_path, changes), timeout=timeout, hello_timeout=hello_timeout))
        return ports[-1]

    yield make
    for port in ports:
        port.close()
