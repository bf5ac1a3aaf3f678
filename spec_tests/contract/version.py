"""Which versions of the specification a port may be written for: 0.1 and every 0.x up to the suite's own.

A port of an older version is asked the cases of that version and no younger one (`since` of a case). There is one rule,
and whoever asks a port follows it: `atlas conform`, `pytest --port` and `atlas port check`.
"""

import re
from typing import Final

from atlas_ref.errors import UserError
from spec_tests.port import SPEC_VERSION

FIRST: Final = "0.1"
"""The version of every case that does not say since when it is asked."""
_FORM: Final = re.compile(r"0\.([1-9][0-9]{0,5})")


def parse_version(text: str) -> int:
    """Return x of a version 0.x, from 0.1 to the suite's own; UserError with one sentence for anything else."""
    form, own = _FORM.fullmatch(text), _FORM.fullmatch(SPEC_VERSION)
    assert own
    if form is None or int(form[1]) > int(own[1]):
        valid = FIRST if SPEC_VERSION == FIRST else f"{FIRST} to {SPEC_VERSION}"
        raise UserError(
            f"the port declares spec_version '{text}', but this suite asks ports written for {valid}; "
            "declare the version that the port was written for."
        )
    return int(form[1])


def is_asked(since: str, version: str) -> bool:
    """Return whether a case that is there since a version is asked of a port written for another."""
    return parse_version(since) <= parse_version(version)
