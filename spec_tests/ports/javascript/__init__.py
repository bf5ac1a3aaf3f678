"""The specification in JavaScript, a file a concept, as a program for Node; `NodePort` asks it."""

from spec_tests.ports.javascript.port import NodePort, NoNodeError, node

__all__ = ["NoNodeError", "NodePort", "node"]
