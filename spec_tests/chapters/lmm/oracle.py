"""docs/spec/lmm.md in numpy: the memory of the MAG block, and a gate."""

from collections.abc import Mapping
from typing import Final

from spec_tests.chapters.blocks import oracle as parts
from spec_tests.chapters.blocks.operation import MODEL
from spec_tests.chapters.blocks.oracle import Arrays, linear, positions, rms_norm
from spec_tests.chapters.memory_step.loop import Config
from spec_tests.oracle.answer import Function
from spec_tests.oracle.sigmoid import sigmoid
from spec_tests.oracle.sums import Sums
from spec_tests.port import Array, Op


def gated(config: Config, n: Array, reads: Array, x: Arrays, sums: Sums) -> Array:
    """Return (floor + (1 - floor) sigmoid(W_g n)) o reads."""
    floor = float(config["floor"])
    return (floor + (1.0 - floor) * sigmoid(linear(n, x["gate_weight"], sums))) * reads


def lmm_block(config: Config, x: Arrays, sums: Sums) -> dict[str, Array]:
    """Return y and the state after the call."""
    whole = {**MODEL, **config}
    eps, position = float(whole["norm_eps"]), positions(x["position"], x["reset"])
    n = rms_norm(x["x"], x["norm"], eps, sums)
    found = parts.remember(whole, n, x, position, position, sums)
    reads = found.pop("reads").reshape(*position.shape, len(x["memory_norm"]))
    # Detached: for the outer gradient the reads are constants.
    reads = reads.real if whole["inner_grad"] == "detached" else reads
    joined = gated(whole, n, rms_norm(reads, x["memory_norm"], eps, sums), x, sums)
    found["tail"] = parts.of_document(found["tail"], found["position"])
    return {"y": x["x"] + linear(joined, x["output"], sums), **found}


ANSWERS: Final[Mapping[Op, Function]] = {Op.LMM_BLOCK: lmm_block}
