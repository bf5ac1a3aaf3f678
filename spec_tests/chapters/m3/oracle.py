"""docs/spec/m3.md in numpy, one row at a time."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.oracle.answer import Arrays, Config, Function
from spec_tests.oracle.sigmoid import sigmoid
from spec_tests.oracle.sums import Sums
from spec_tests.port import Array, Op


def m3_mix(previous: Array, initial: Array, crossings: Array, warmup: int, logit: Array) -> tuple[Array, Array]:
    """Return the mixing of each row and the new state; the previous state counts as a constant."""
    mixing = np.zeros(len(crossings), dtype=logit.dtype)
    for row, n in enumerate(crossings):
        mixing[row] = 0.1 + 0.4 * int(n) / warmup if n < warmup else sigmoid(logit)
    old = previous.real
    mixed = [a * old[row] + (1.0 - a) * initial for row, a in enumerate(mixing)]
    return mixing, np.stack(mixed) if mixed else np.zeros_like(old)


def _m3_mix(config: Config, x: Arrays, _: Sums) -> Arrays:
    warmup = int(config["warmup_crossings"])
    mixing, mixed = m3_mix(x["previous"], x["initial"], x["crossings"], warmup, x["alpha_logit"])
    return {"mixing": mixing, "mixed": mixed}


ANSWERS: Final[Mapping[Op, Function]] = {Op.M3_MIX: _m3_mix}
