"""What the oracle of a chapter gives for each operation: functions on named arrays."""

from collections.abc import Callable, Mapping

from spec_tests.oracle.sums import Sums
from spec_tests.port import Array, Scalar

Arrays = Mapping[str, Array]
Config = Mapping[str, Scalar]
Function = Callable[[Config, Arrays, Sums], Arrays]

Slopes = Callable[[Config, Arrays, Arrays], Arrays]
"""Derivatives of an operation for which one complex step an entry takes too long: from inputs and cotangents."""
