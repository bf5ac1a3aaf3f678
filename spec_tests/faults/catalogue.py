"""Every seeded fault."""

from dataclasses import replace
from typing import Final

from spec_tests.faults.around import AROUND
from spec_tests.faults.blocks import BLOCKS
from spec_tests.faults.calls import CALLS
from spec_tests.faults.elementary import ELEMENTARY
from spec_tests.faults.fault import Fault
from spec_tests.faults.matrices import MATRICES
from spec_tests.faults.memory import MEMORY
from spec_tests.faults.memory_chunks import MEMORY_CHUNKS
from spec_tests.faults.memory_rules import MEMORY_RULES
from spec_tests.faults.memory_sequence import MEMORY_SEQUENCE
from spec_tests.faults.memory_sources import MEMORY_SOURCES
from spec_tests.faults.origins import origins
from spec_tests.faults.primitives import PRIMITIVES
from spec_tests.faults.sequence import SEQUENCE
from spec_tests.faults.sights import SIGHTS
from spec_tests.faults.training import TRAINING

_SEEDED: Final[tuple[Fault, ...]] = (
    *CALLS,
    *MATRICES,
    *ELEMENTARY,
    *PRIMITIVES,
    *SEQUENCE,
    *SIGHTS,
    *AROUND,
    *BLOCKS,
    *TRAINING,
    *MEMORY,
    *MEMORY_RULES,
    *MEMORY_CHUNKS,
    *MEMORY_SOURCES,
    *MEMORY_SEQUENCE,
)
_ORIGINS: Final = origins()

CATALOGUE: Final = tuple(replace(fault, origin=fault.origin or _ORIGINS.get(fault.id, "")) for fault in _SEEDED)
