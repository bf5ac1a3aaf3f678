"""Every generated fault: each kind in each operation of the table, in each place that it has there."""

from collections.abc import Iterator
from typing import Final

from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.schema import Operation
from spec_tests.faults.generated import arrays, carriage, configuration, hidden, rounding, slopes
from spec_tests.faults.generated.kind import Generated, Kind
from spec_tests.faults.generated.sentences import forbidden_by

KINDS: Final[tuple[Kind, ...]] = tuple(
    kind for room in (configuration, slopes, carriage, rounding, hidden, arrays) for kind in room.KINDS
)


def faults_of(row: Operation) -> Iterator[Generated]:
    """Yield the faults of one operation."""
    for kind in KINDS:
        for place in kind.make(row):
            name = f"{row.op}/{kind.name}/{place.name}"
            yield Generated(name, kind.name, row.op, forbidden_by(row, kind.aspect), place.wrap, place.numerics)


GENERATED: Final[tuple[Generated, ...]] = tuple(fault for row in OPERATIONS.values() for fault in faults_of(row))
