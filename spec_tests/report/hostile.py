"""Ports that go about ending the process of the suite, for whole runs: `atlas conform` judges them by their names."""

import os
import threading
from collections.abc import Mapping

from spec_tests.port import Array, Numerics, Scalar
from spec_tests.process.example import ExamplePort


class Misbehaving(ExamplePort):
    """The example port, which does something before every answer."""

    def run(
        self,
        op: str,
        config: Mapping[str, Scalar],
        inputs: Mapping[str, Array],
        *,
        numerics: Numerics,
        taps: frozenset[str],
    ) -> Mapping[str, Array]:
        """Misbehave, then answer."""
        self.misbehave()
        return super().run(op, config, inputs, numerics=numerics, taps=taps)

    def misbehave(self) -> None:
        """Do what the class is for."""
        raise NotImplementedError


class ExitsInRun(Misbehaving):
    """Ends the process with the code of a pass, as STOP does in Fortran."""

    def misbehave(self) -> None:
        os._exit(0)


class Raises(Misbehaving):
    """Raises in turn what is no Exception, and leaves a thread for which the interpreter would wait without end."""

    def __init__(self) -> None:
        threading.Thread(target=threading.Event().wait).start()
        self._turn = iter((SystemExit(0), KeyboardInterrupt(), GeneratorExit()) * 1000)

    def misbehave(self) -> None:
        raise next(self._turn)


def exits_in_factory() -> ExamplePort:
    """End the process while the port is made."""
    os._exit(0)
