"""ATLAS executable specification: the reference implementation."""

__version__ = "0.1.0"
SPEC_VERSION = "0.1"
"""The version of docs/spec that this package implements."""
