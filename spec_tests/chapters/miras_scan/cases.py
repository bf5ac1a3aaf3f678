"""Stored cases of the recurrence with the axes of MIRAS."""

from typing import Final

from spec_tests.chapters.miras_scan.stored import DIFFERENTIATED, stored_models
from spec_tests.port import Op
from spec_tests.vectors.source import Family

STORED: Final = (*stored_models(Family("MIRAS", Op.MIRAS_SCAN), "MEM-2 MEM-5", 70_000, DIFFERENTIATED),)
