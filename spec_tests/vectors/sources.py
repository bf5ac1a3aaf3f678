"""Every question that is stored as a case."""

from typing import Final

from spec_tests.vectors.source import Source
from spec_tests.vectors.sources_around import AROUND
from spec_tests.vectors.sources_blocks import LEVEL_FOUR
from spec_tests.vectors.sources_matrices import MATRICES
from spec_tests.vectors.sources_memory import MEMORIES
from spec_tests.vectors.sources_sequences import SEQUENCES
from spec_tests.vectors.sources_training import TRAINING

SOURCES: Final[tuple[Source, ...]] = (*MATRICES, *SEQUENCES, *AROUND, *MEMORIES, *LEVEL_FOUR, *TRAINING)
