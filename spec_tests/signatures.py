"""In a checkout, the shapes in every signature of the reference are checked where the two packages for it are there.

pytest loads this before any conftest (`-p` in pyproject.toml).
"""

import sys
from importlib.util import find_spec
from unittest.mock import patch

if find_spec("jaxtyping") and find_spec("beartype"):
    import jaxtyping

    from spec_tests.shapes import jaxtyped

    # jaxtyping would import JAX, which takes a second, only to keep itself out of the tracebacks of JAX.
    with patch.dict(sys.modules, {"jax": None}):
        jaxtyping.jaxtyped(typechecker=None)
    patch.object(jaxtyping, "jaxtyped", jaxtyped).start()
    # Before anything of the package is imported: what is imported already goes unchecked.
    jaxtyping.install_import_hook("atlas_ref", "beartype.beartype")
