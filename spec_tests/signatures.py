"""In a checkout, the shapes in every signature of the reference are checked where the two packages for it are there.

pytest loads this before any conftest (`-p` in pyproject.toml). A run that judges a port is no test of this package: it
checks none, as `atlas conform` does.
"""

import sys
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Final
from unittest.mock import patch

import pytest

CHECKED: Final = bool(find_spec("jaxtyping") and find_spec("beartype"))

if CHECKED:
    import jaxtyping

    from spec_tests.shapes import jaxtyped

    # jaxtyping would import JAX, which takes a second, only to keep itself out of the tracebacks of JAX.
    with patch.dict(sys.modules, {"jax": None}):
        jaxtyping.jaxtyped(typechecker=None)
    patch.object(jaxtyping, "jaxtyped", jaxtyped).start()
    # Before anything of the package is imported: what is imported already goes unchecked.
    jaxtyping.install_import_hook("atlas_ref", "beartype.beartype")


def pytest_configure(config: pytest.Config) -> None:
    """Check no shapes where a port is named, until this run of pytest ends."""
    from spec_tests.report.options import names_port

    if CHECKED and names_port(config):
        from spec_tests.shapes import unchecked

        held = ExitStack()
        held.enter_context(unchecked())
        config.add_cleanup(held.close)
