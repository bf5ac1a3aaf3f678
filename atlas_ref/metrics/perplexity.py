"""Perplexity: how many equally likely tokens a model is as unsure between as its loss says."""

import math

LARGEST = 700.0
"""Nats beyond which exp overflows in float64 soon."""


def perplexity(loss: float) -> float:
    """Return exp(loss) of a mean loss in nats a token; exp(700) of any larger one, NaN of NaN."""
    return math.exp(min(loss, LARGEST))
