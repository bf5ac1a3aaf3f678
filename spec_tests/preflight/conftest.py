"""Fixtures of `atlas preflight` and of what stands in front of `atlas train`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from atlas_ref.config import to_toml
from spec_tests.package.micro.command import Atlas, in_this_process
from spec_tests.preflight.examined import short_config
from spec_tests.preflight.gates import Gates, put_in_place
from spec_tests.reused import reusing


@pytest.fixture(scope="session", autouse=True)
def reused() -> Iterator[None]:
    """Work out once what does not change."""
    with reusing():
        yield


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache, in a place of the test's own."""
    path = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(path))
    return path


@pytest.fixture
def atlas(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Atlas:
    """The command line inside this process."""
    return in_this_process(monkeypatch, capsys)


@pytest.fixture
def gates(monkeypatch: pytest.MonkeyPatch) -> Gates:
    """Two gates that pass until they are told otherwise."""
    return put_in_place(monkeypatch)


@pytest.fixture
def micro(tmp_path: Path) -> Path:
    """A small config as a file, of two steps."""
    path = tmp_path / "micro.toml"
    path.write_text(to_toml(short_config()))
    return path
