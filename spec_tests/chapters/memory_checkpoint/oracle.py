"""docs/spec/memory_checkpoint.md in numpy: the state through numpy's own kind of file."""

from collections.abc import Mapping
from io import BytesIO
from typing import Final

import numpy as np

from spec_tests.chapters.memory_step.loop import STATE, TOKENS, Oracle
from spec_tests.oracle.answer import Arrays, Config, Function
from spec_tests.oracle.sums import Sums
from spec_tests.port import Op


def _checkpoint_round_trip(config: Config, x: Arrays, sums: Sums) -> Arrays:
    """Scan, write the state to numpy's own file format in memory, read it back, scan on."""
    split, oracle = int(config["split"]), Oracle(config, sums)
    first = oracle.run({**x, **{name: x[name][:, :split] for name in TOKENS}})
    file = BytesIO()
    for name in STATE:
        np.save(file, first[name])
    file.seek(0)
    state = {name: np.load(file) for name in STATE}
    second = oracle.run({**x, **{name: x[name][:, split:] for name in TOKENS}, **state})
    return {**second, "reads": np.concatenate([first["reads"], second["reads"]], axis=1)}


ANSWERS: Final[Mapping[Op, Function]] = {Op.CHECKPOINT_ROUND_TRIP: _checkpoint_round_trip}
