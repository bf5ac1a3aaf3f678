"""Fixtures that several files of this package's tests share."""

import os
from collections.abc import Iterator
from unittest.mock import patch

import pytest
import torch

from atlas_ref.config import RunConfig
from atlas_ref.processes.distributed import World
from atlas_ref.training import loop
from atlas_ref.training.run import Run, new_run
from spec_tests.package.micro.command import Atlas, in_this_process
from spec_tests.reused import reusing


@pytest.fixture(scope="session", autouse=True)
def unsynced() -> Iterator[None]:
    """Wait for no disk: nobody pulls the plug here, and a run of six steps would wait for thirty files."""
    with patch.object(os, "fsync", os.fstat):
        yield


@pytest.fixture(scope="session", autouse=True)
def reused() -> Iterator[None]:
    """Work out once what does not change: thousands of tests read the same preset."""
    with reusing():
        yield


@pytest.fixture
def atlas(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Atlas:
    """The command line inside this process."""
    return in_this_process(monkeypatch, capsys)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """The runs that the loop makes, newest last, to reach into while they train."""
    made: list[Run] = []

    def capture(config: RunConfig, device: torch.device, world: World, update: int) -> Run:
        made.append(new_run(config, device, world, update))
        return made[-1]

    monkeypatch.setattr(loop, "new_run", capture)
    return made
