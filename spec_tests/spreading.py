"""Which tests run one after the other in one process, where a run has several.

Tests of one file share what they prepare. Stored cases and seeded faults prepare nothing and are many: one process
would run them alone at the end, while the others have nothing left to do.
"""

from typing import Any, Final

import pytest
from xdist.scheduler import LoadFileScheduling

PARTED: Final = ("test_vectors.py", "test_faults.py")
"""Files whose tests share nothing; what their parameters begin with makes parts of them."""


def file_by_file(config: pytest.Config, log: Any) -> Any:
    """Return xdist's scheduler of whole files, which gets the long lists of parameters in parts."""
    scheduler = LoadFileScheduling(config, log)
    scheduler._split_scope = part_of
    return scheduler


def part_of(nodeid: str) -> str:
    """Return the file of a test, or of a file in parts the first word or two: `test_vectors.py ATL-SCAN`."""
    file, _, test = nodeid.partition("::")
    words = test.partition("[")[2].split("-")
    return f"{file} {'-'.join(words[: 2 if words[0] == 'ATL' else 1])}" if file.endswith(PARTED) else file
