"""`titans-pytorch` (PyPI, the `bench` extra) as a port, a file a concept. Without it the import raises ImportError."""

from spec_tests.ports.titans_pytorch.port import TitansPytorchPort

__all__ = ["TitansPytorchPort"]
