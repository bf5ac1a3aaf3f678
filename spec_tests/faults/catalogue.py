"""Every seeded fault: those of each chapter, chapter after chapter."""

from typing import Final

from spec_tests.discovery import furniture
from spec_tests.faults.fault import Fault

CATALOGUE: Final[tuple[Fault, ...]] = tuple(fault for module in furniture("faults") for fault in module.FAULTS)
