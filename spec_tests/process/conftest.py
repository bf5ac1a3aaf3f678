"""Ports of the sound program with something put wrong, closed when the test ends."""

from collections.abc import Iterator
from os import environ, mkfifo, pathsep
from pathlib import Path

import pytest

import spec_tests
from spec_tests.process.client import ProcessPort
from spec_tests.process.life import Life
from spec_tests.process.scripts import Opened, program


@pytest.fixture(scope="module", autouse=True)
def _importable() -> Iterator[None]:
    """Let programs written in Python find this suite, installed or not, and compute on one thread."""
    paths = [str(Path(spec_tests.__file__).parents[1]), environ.get("PYTHONPATH", "")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", pathsep.join(filter(None, paths)))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


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


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    """A named pipe whose other end is open as long as a process of the program lives."""
    path = tmp_path / "life"
    mkfifo(path)
    watched = Life(path)
    yield watched
    watched.close()
