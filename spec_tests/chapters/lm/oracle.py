"""docs/spec/lm.md in numpy, put together from the block's oracle."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from spec_tests.chapters.blocks.operation import LAYERS
from spec_tests.chapters.blocks.oracle import Arrays, linear, mag_block, rms_norm, silu
from spec_tests.chapters.memory_step.loop import Config
from spec_tests.oracle.answer import Function
from spec_tests.oracle.sums import Sums
from spec_tests.port import Array, Op


def lm_forward(config: Config, x: Arrays, sums: Sums) -> dict[str, Array]:
    """Return logits and the state of both layers."""
    hidden, eps = x["embedding"][x["tokens"]], float(config["norm_eps"])
    states: dict[str, Array] = {}
    for prefix in LAYERS:
        layer = {name[2:]: value for name, value in x.items() if name.startswith(prefix)}
        after = mag_block(config, {**layer, "x": hidden, "reset": x["reset"]}, sums)
        hidden = after.pop("y")
        states |= {f"{prefix}{name}": value for name, value in after.items()}
        gate, value = np.split(
            linear(rms_norm(hidden, layer["feed_norm"], eps, sums), layer["feed_up"], sums), 2, axis=-1
        )
        hidden = hidden + linear(silu(gate) * value, layer["feed_down"], sums)
    normed = rms_norm(hidden, x["final_norm"], eps, sums)
    return {"logits": linear(normed, x["embedding"], sums), **states}


ANSWERS: Final[Mapping[Op, Function]] = {Op.LM_FORWARD: lm_forward}
