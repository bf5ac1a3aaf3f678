"""What a run asks of a port: a level and precisions. A port seen through `ScopedPort` declares no more than that.

The wrapper is also the witness: it keeps every call of the case that runs, so that a report can say what was asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from atlas_ref.errors import UserError
from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.version import parse_version
from spec_tests.port import (
    BLOCK_GRADIENTS,
    GRADIENTS,
    PROFILES,
    SPEC_VERSION,
    Array,
    Declaration,
    Numerics,
    Op,
    Port,
    Scalar,
)
from spec_tests.report.model import LEVELS, Asked, DeclarationRecord, LastCall

TOP: Final = max(LEVELS)
GRADIENT_LEVEL: Final = 5
"""Derivatives of any operation belong to this level: a port that only runs forward can be whole below it."""


@dataclass(frozen=True)
class Scope:
    """The highest level and the precisions asked, and the version of the specification whose cases are."""

    level: int = TOP
    numerics: tuple[Numerics, ...] = PROFILES
    version: str = SPEC_VERSION

    @property
    def whole(self) -> bool:
        """Return whether everything is asked."""
        return self.level == TOP and set(PROFILES) <= set(self.numerics)

    def holds(self, op: Op) -> bool:
        """Return whether an operation is of a level asked."""
        return op in OPERATIONS and OPERATIONS[op].level <= self.level

    def restrict(self, declaration: Declaration) -> Declaration:
        """Return the declaration without what is not asked."""
        above = {GRADIENTS, BLOCK_GRADIENTS} if self.level < GRADIENT_LEVEL else set()
        capabilities = declaration.capabilities - above
        return replace(
            declaration,
            operations=frozenset(op for op in declaration.operations if self.holds(op)),
            capabilities=frozenset(capabilities),
            numerics=tuple(numerics for numerics in declaration.numerics if numerics in self.numerics),
        )


EVERYTHING: Final = Scope(numerics=tuple(Numerics))
"""All levels in all precisions, those included that a run is asked in only where it names them."""


def parse_level(text: str) -> int:
    """Return 3 for "L3" or "3"; raise UserError for what is no level."""
    digits = text.strip().upper().removeprefix("L")
    if digits.isdecimal() and int(digits) in LEVELS:
        return int(digits)
    raise UserError(f"--level {text}: expected one of {', '.join(f'L{level}' for level in LEVELS)}.")


def parse_numerics(text: str) -> tuple[Numerics, ...]:
    """Return the precisions of a list separated by commas or spaces, in the order of the specification."""
    names = text.replace(",", " ").split()
    unknown = [name for name in names if name not in set(Numerics)]
    if unknown or not names:
        raise UserError(f"--numerics {text}: expected one or more of {', '.join(Numerics)}, separated by commas.")
    return tuple(numerics for numerics in Numerics if numerics in names)


class ScopedPort:
    """A port that declares only what is asked of it, and whose calls are kept until `forget`.

    UserError where it was written for a version of the specification that the suite does not have.
    """

    def __init__(self, port: Port, scope: Scope) -> None:
        self.port = port
        # A copy in plain values: a port's own class could declare one thing now and another later.
        self.declared = DeclarationRecord.of(port.declare()).declaration()
        parse_version(self.declared.spec_version)
        self.scope = replace(scope, version=self.declared.spec_version)
        self._declaration = self.scope.restrict(self.declared)
        self.forget()

    def ask_in(self, numerics: tuple[Numerics, ...]) -> None:
        """Declare of what is asked these precisions alone, until others are named."""
        self._declaration = replace(self.scope, numerics=numerics).restrict(self.declared)

    def forget(self) -> None:
        """Begin a new case."""
        self._asked: dict[tuple[Op, Numerics], None] = {}
        self.last: LastCall | None = None
        self.gradients = False

    @property
    def asked(self) -> tuple[Asked, ...]:
        """Return what was asked since `forget`, each operation and precision once."""
        return tuple(Asked(operation=op, numerics=numerics) for op, numerics in self._asked)

    def declare(self) -> Declaration:
        """Declare what the port has of what is asked."""
        return self._declaration

    def run(
        self,
        op: str,
        config: Mapping[str, Scalar],
        inputs: Mapping[str, Array],
        *,
        numerics: Numerics,
        taps: frozenset[str],
    ) -> Mapping[str, Array]:
        """Pass the call on, and keep what it was."""
        self._asked[Op(op), numerics] = None
        plain = {name: value if isinstance(value, Scalar) else str(value) for name, value in config.items()}
        gradients = any(name.startswith("cotangent.") for name in inputs)
        shapes = {name: tuple(value.shape) for name, value in inputs.items()}
        self.last = LastCall(operation=Op(op), numerics=numerics, config=plain, shapes=shapes, gradients=gradients)
        self.gradients |= gradients
        return self.port.run(op, config, inputs, numerics=numerics, taps=taps)
