"""In a checkout, the shapes in every signature of the reference are checked where the two packages for it are there.

pytest loads this before any conftest (`-p` in pyproject.toml).
"""

from importlib.util import find_spec

if find_spec("jaxtyping") and find_spec("beartype"):
    from jaxtyping import install_import_hook

    # Before anything of the package is imported: what is imported already goes unchecked.
    install_import_hook("atlas_ref", "beartype.beartype")
