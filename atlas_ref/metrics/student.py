"""Student's t distribution (1908): how far from its expectation the mean of a few numbers lies, in its standard errors.

Their spread is not known but estimated from the same numbers, with `degrees` of freedom, one less than there are.
"""

import math
from functools import lru_cache


def student_within(t: float, degrees: int) -> float:
    """Return P(|T| <= t) for `degrees` of freedom, exactly: the finite series of Abramowitz and Stegun 26.7.3-4.

    With theta = atan(t / sqrt(n)): for odd n it is 2/pi (theta + sin cos (1 + 2/3 cos^2 + 2 4/(3 5) cos^4 + ...)),
    for even n sin (1 + 1/2 cos^2 + 1 3/(2 4) cos^4 + ...), both up to the power n - 2 of the cosine.
    """
    theta = math.atan2(t, math.sqrt(degrees))
    sine, square = math.sin(theta), math.cos(theta) ** 2
    odd = degrees % 2
    term = math.cos(theta) if odd else 1.0
    total = 0.0
    for power in range(odd, degrees - 1, 2):
        total += term
        term *= (power + 1) / (power + 2) * square
    if not odd:
        return sine * total
    return 2.0 / math.pi * (theta + sine * total)


@lru_cache(maxsize=256)
def student_quantile(confidence: float, degrees: int) -> float:
    """Return the t with P(|T| <= t) = `confidence`, by bisection on its angle."""
    low, high = 0.0, 0.5 * math.pi
    for _ in range(80):
        middle = 0.5 * (low + high)
        if student_within(math.tan(middle) * math.sqrt(degrees), degrees) < confidence:
            low = middle
        else:
            high = middle
    return math.tan(0.5 * (low + high)) * math.sqrt(degrees)
