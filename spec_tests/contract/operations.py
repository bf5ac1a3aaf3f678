"""The table of operations: configuration keys, inputs and outputs of each, with axes and role.

An axis name that appears twice in one operation has one length; a number is that length. Roles decide the precision in
the profile `bf16_io`: activations are bfloat16 values, parameters and state float32, indices int64. Each row stands in
the chapter of its concept (`spec_tests/chapters/*/operation.py`); the table has the order of the list in `Op`.
"""

from collections.abc import Mapping
from functools import cache
from typing import Final

from spec_tests.contract.schema import Operation
from spec_tests.discovery import furniture
from spec_tests.port import Op


def _table() -> dict[Op, Operation]:
    rows = [row for module in furniture("operation") for row in module.ROWS]
    return {row.op: row for row in sorted(rows, key=lambda row: list(Op).index(row.op))}


OPERATIONS: Final[Mapping[Op, Operation]] = _table()


@cache
def chapters_of_operations() -> Mapping[Op, str]:
    """Return the chapter of every operation."""
    return {row.op: module.__name__.split(".")[-2] for module in furniture("operation") for row in module.ROWS}
