"""A port in another process, seen as a port in this one."""

from collections.abc import Mapping

from spec_tests.port import Array, Declaration, Numerics, Scalar


class ProcessPort:
    """The program behind a command line."""

    def __init__(self, command: str) -> None:
        self.command = command

    def declare(self) -> Declaration:
        """Ask the program what it is."""
        raise NotImplementedError

    def run(
        self,
        op: str,
        config: Mapping[str, Scalar],
        inputs: Mapping[str, Array],
        *,
        numerics: Numerics,
        taps: frozenset[str],
    ) -> Mapping[str, Array]:
        """Ask the program to run one operation."""
        raise NotImplementedError
