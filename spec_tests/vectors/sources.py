"""Every question that is stored as a case: those of each chapter, chapter after chapter."""

from typing import Final

from spec_tests.discovery import furniture
from spec_tests.vectors.source import Source

SOURCES: Final[tuple[Source, ...]] = tuple(source for module in furniture("cases") for source in module.STORED)
