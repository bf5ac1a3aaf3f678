"""docs/spec/mal.md in numpy: the memory of the MAG block, then its attention over what the memory reads."""

from collections.abc import Mapping
from typing import Final

from spec_tests.chapters.blocks import oracle as parts
from spec_tests.chapters.blocks.operation import MODEL
from spec_tests.chapters.blocks.oracle import Arrays, begun, linear, positions, rms_norm
from spec_tests.chapters.memory_step.loop import Config
from spec_tests.oracle.answer import Function
from spec_tests.oracle.sums import Sums
from spec_tests.port import Array, Op


def remembered(config: Config, x: Arrays, position: Array, sums: Sums) -> dict[str, Array]:
    """Return what the memory reads of n, and what it carries."""
    n = rms_norm(x["x"], x["norm"], float(config["norm_eps"]), sums)
    return parts.remember(config, n, {**x, "initial": begun(config, x, sums)}, position, position, sums)


def attended(config: Config, z: Array, x: Arrays, position: Array, sums: Sums) -> dict[str, Array]:
    """Return W_o of attention over z, and its caches."""
    found = parts.attend(config, z, x, position, sums)
    output = found["output"].reshape(*position.shape, x["output"].shape[-1])
    return {**found, "output": linear(output, x["output"], sums)}


def seen(config: Config, stream: Array, read: Array, x: Arrays, sums: Sums) -> tuple[Array, Array]:
    """Return the residual stream that attention adds to, and what it sees of it."""
    if not config["inner_residual"]:
        return stream, read
    stream = stream + read
    return stream, rms_norm(stream, x["inner_norm"], float(config["norm_eps"]), sums)


def mal_block(config: Config, x: Arrays, sums: Sums) -> dict[str, Array]:
    """Return y and the state after the call."""
    whole = {**MODEL, **config, "span": x["cache_keys"].shape[1] + 1}
    eps, position = float(whole["norm_eps"]), positions(x["position"], x["reset"])
    state = remembered(whole, x, position, sums)
    reads = state.pop("reads").reshape(*position.shape, len(x["memory_norm"]))
    # Detached: for the outer gradient the reads are constants.
    reads = reads.real if whole["inner_grad"] == "detached" else reads
    z = linear(rms_norm(reads, x["memory_norm"], eps, sums), x["memory_output"], sums)
    stream, z = seen(whole, x["x"], z, x, sums)
    found = attended(whole, z, x, position, sums)
    for name in ("cache_keys", "cache_values"):
        state[name] = parts.of_document(found[name], state["position"])
    state["tail"] = parts.of_document(state["tail"], state["position"])
    return {"y": stream + found["output"], **state}


ANSWERS: Final[Mapping[Op, Function]] = {Op.MAL_BLOCK: mal_block}
