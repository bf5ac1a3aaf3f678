"""The numpy port's block, language model and checkpoint."""

from collections.abc import Mapping
from io import BytesIO
from typing import Final

import numpy as np

from spec_tests.oracle import blocks
from spec_tests.oracle.memory import STATE, TOKENS, Oracle
from spec_tests.oracle.sums import Sums
from spec_tests.port import Op
from spec_tests.ports.numpy_around import Arrays, Config, Function


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


BLOCKS: Final[Mapping[Op, Function]] = {
    Op.MAG_BLOCK: blocks.mag_block,
    Op.LM_FORWARD: blocks.lm_forward,
    Op.CHECKPOINT_ROUND_TRIP: _checkpoint_round_trip,
}
