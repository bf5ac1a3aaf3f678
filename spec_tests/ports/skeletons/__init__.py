"""The beginnings of ports: `atlas port new` writes them, each with one operation that passes."""

from spec_tests.ports.skeletons.writing import LANGUAGES, Skeleton, write_skeleton

__all__ = ["LANGUAGES", "Skeleton", "write_skeleton"]
