"""Fixtures that the tests of checkpoints share."""

import shutil
from pathlib import Path

import pytest

from spec_tests.package.micro.runs import (
    micro_config,
    start,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of six uninterrupted steps, saved at three and six."""
    path = tmp_path_factory.mktemp("whole") / "run"
    start(micro_config(), path)
    return path


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """A copy of that directory to damage."""
    path = tmp_path / "copy"
    shutil.copytree(whole, path)
    return path
