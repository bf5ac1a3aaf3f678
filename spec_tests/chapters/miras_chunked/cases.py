"""Stored cases of the parallel form with the axes of MIRAS."""

from typing import Final

from spec_tests.chapters.miras_scan.stored import stored_models
from spec_tests.port import Op
from spec_tests.vectors.source import Family

_FAMILY: Final = Family("MIRCHUNK", Op.MIRAS_CHUNKED)

STORED: Final = (*stored_models(_FAMILY, "RULE-20 MEM-5", 71_000, ("yaad", "memora")),)
