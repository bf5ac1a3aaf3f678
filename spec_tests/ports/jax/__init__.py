"""The specification in jax, a file a concept. Importing this package without jax raises ImportError."""

from spec_tests.ports.jax.port import JaxPort

__all__ = ["JaxPort"]
