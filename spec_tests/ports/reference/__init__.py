"""The reference implementation as a port, a file a concept: only here the specification meets `atlas_ref`."""

from spec_tests.ports.reference.port import ReferencePort

__all__ = ["ReferencePort"]
