"""Two ways to round rightly that no fixed order of sums shows: wider inside, and in another order at every call."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.faults.fault import in_form
from spec_tests.oracle.sums import ORDERS
from spec_tests.port import Array, Declaration, Numerics, Scalar
from spec_tests.ports.numpy import NumpyPort

INSIDE: Final = Numerics.F64


class WidePort:
    """The loops in float64 whatever the profile: an array is rounded once, when it leaves."""

    def __init__(self) -> None:
        self._loops = NumpyPort()

    def declare(self) -> Declaration:
        """Declare what the loops declare."""
        return Declaration(**{**vars(self._loops.declare()), "name": "numpy_loops (float64 inside)"})

    def run(
        self,
        op: str,
        config: Mapping[str, Scalar],
        inputs: Mapping[str, Array],
        *,
        numerics: Numerics,
        taps: frozenset[str],
    ) -> Mapping[str, Array]:
        """Run one operation in float64 and round what leaves."""
        wide = {name: value.astype(np.float64) if value.dtype.kind == "f" else value for name, value in inputs.items()}
        return in_form(op, self._loops.run(op, config, wide, numerics=INSIDE, taps=taps), numerics)


class ChangingPort:
    """The loops with another order of sums at every call, as sums by atomic additions have it (CALL-1 allows it)."""

    def __init__(self) -> None:
        self._ports = [NumpyPort(order) for order in ORDERS]
        self._calls = 0

    def declare(self) -> Declaration:
        """Declare what the loops declare."""
        return Declaration(**{**vars(self._ports[0].declare()), "name": "numpy_loops (orders in turn)"})

    def run(
        self,
        op: str,
        config: Mapping[str, Scalar],
        inputs: Mapping[str, Array],
        *,
        numerics: Numerics,
        taps: frozenset[str],
    ) -> Mapping[str, Array]:
        """Run one operation in the next of the orders."""
        self._calls += 1
        port = self._ports[self._calls % len(self._ports)]
        return port.run(op, config, inputs, numerics=numerics, taps=taps)
