"""A port in Python is a package with a file a concept; what it answers is put together from them."""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from spec_tests.port import Op


def assembled(package: str, table: str) -> dict[Op, Any]:
    """Return the union of the mappings named `table` in the modules of a package, module after module."""
    folder = import_module(package).__path__
    modules = [import_module(f"{package}.{name}") for name in sorted(module.name for module in iter_modules(folder))]
    return {op: entry for module in modules for op, entry in getattr(module, table, {}).items()}
