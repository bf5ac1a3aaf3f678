"""Fixtures that the tests of the command line share."""

from pathlib import Path

import pytest

from atlas_ref.config import to_toml
from spec_tests.package.micro.runs import (
    micro_config,
    start,
)


@pytest.fixture(scope="module")
def micro(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small config as a file."""
    path = tmp_path_factory.mktemp("config") / "micro.toml"
    path.write_text(to_toml(micro_config()))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    path = tmp_path_factory.mktemp("trained") / "run"
    start(micro_config(), path)
    return path
