"""The table of operations: configuration keys, inputs and outputs of each, with axes and role.

An axis name that appears twice in one operation has one length; a number is that length. Roles decide the precision in
the profile `bf16_io`: activations are bfloat16 values, parameters and state float32, indices int64. Rows for one family
stand in one file; `OPERATIONS` is their union.
"""

from collections.abc import Mapping
from typing import Final

from spec_tests.operations.blocks import BLOCKS
from spec_tests.operations.memories import MEMORIES
from spec_tests.operations.optimisers import OPTIMISERS
from spec_tests.operations.primitives import PRIMITIVES
from spec_tests.operations.schema import Operation
from spec_tests.port import Op

OPERATIONS: Final[Mapping[Op, Operation]] = {row.op: row for row in (*PRIMITIVES, *MEMORIES, *BLOCKS, *OPTIMISERS)}
