"""The specification in C++17, a file a concept, as a program; `CompiledPort` builds it and asks it."""

from spec_tests.ports.cpp.port import CompiledPort, build

__all__ = ["CompiledPort", "build"]
