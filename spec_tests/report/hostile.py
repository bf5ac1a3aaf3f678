"""Ports that go about ending the process of the suite, for whole runs: `atlas conform` judges them by their names."""

import os
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from spec_tests.port import Array, Declaration, Numerics, Scalar
from spec_tests.process.example import ExamplePort

CLEAR: Final = "\x1b[2J"
"""What clears a terminal."""


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


class Loud(Misbehaving):
    """Sends control sequences wherever a port has a word: it clears the screen, or would."""

    def declare(self) -> Declaration:
        """Declare a name and a version that move the cursor."""
        return replace(super().declare(), name=f"loud{CLEAR}", version=f"1{CLEAR}", language=f"py\udcff{CLEAR}")

    def misbehave(self) -> None:
        print(f"printed{CLEAR}")
        raise type(f"Loud{CLEAR}", (Exception,), {})(f"said{CLEAR}\x9b2J")


def exits_in_factory() -> ExamplePort:
    """End the process while the port is made."""
    os._exit(0)
