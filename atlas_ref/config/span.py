"""How far back lies what is asked for, and the retention that keeps a stated share over it.

kept over n tokens = retention^n            retention that keeps KEPT over n tokens = KEPT^(1 / n)
"""

import math
from typing import Final, NamedTuple

SPANNED: Final = "span"
"""What `retention_init` may be in place of a number: the one that keeps KEPT over the span of the data."""
KEPT: Final = 0.5
"""Share that is kept of what was written as many tokens ago as the farthest answer lies back."""
MOST_RETAINED: Final = 0.99999
"""Largest retention that a span gives: above it the sigmoid of a gate has no slope left."""
DIGITS: Final = 6
"""Decimals of such a retention, so that it can be read and written down."""


class Span(NamedTuple):
    """The tokens from a place that is scored back to what it asks for: at least and at most."""

    nearest: int
    farthest: int


def retention_over(tokens: int, share: float = KEPT) -> float:
    """Return the retention, rounded up to DIGITS decimals, that keeps `share` over so many tokens: share^(1 / tokens).

    At most MOST_RETAINED.
    """
    exact = math.pow(share, 1.0 / max(1, tokens))
    return min(MOST_RETAINED, math.ceil(exact * 10**DIGITS) / 10**DIGITS)
