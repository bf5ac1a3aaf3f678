"""What tests of whole runs share."""

import sys

import pytest

from spec_tests.package.warm.start import warm_python


@pytest.fixture
def warm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have runs begin with everything imported."""
    monkeypatch.setattr(sys, "executable", warm_python())
