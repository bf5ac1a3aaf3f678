"""Persistent tokens that are written wrongly: each gets the right function first, then what that one would get."""

from collections.abc import Callable

import numpy as np

from spec_tests.chapters.blocks.operation import BLOCK_STATE, MODEL
from spec_tests.chapters.blocks.oracle import begun, positions, remember, rms_norm
from spec_tests.chapters.memory_step.loop import Config
from spec_tests.faults.fault import Arrays
from spec_tests.oracle.sums import FORWARD, Sums
from spec_tests.port import Array


def normalised(right: Callable[..., Array], config: Config, x: Arrays, sums: Sums) -> Array:
    """Normalise persistent tokens as the others are."""
    tokens = rms_norm(x["persistent"], x["norm"], float(config["norm_eps"]), sums)
    return right(config, {**x, "persistent": tokens}, sums)


def together(
    right: Callable[..., dict[str, Array]], config: Config, x: Arrays, position: Array, sums: Sums
) -> dict[str, Array]:
    """Write persistent tokens and those of the document one after another, as one sequence."""
    if not (config["persistent_in_memory"] and len(x["x"])):
        return right(config, x, position, sums)
    rows = [_one_row(config, x, row, position[row], sums) for row in range(len(x["x"]))]
    return {name: np.concatenate([found[name] for found in rows]) for name in rows[0]}


def _one_row(config: Config, x: Arrays, row: int, position: Array, sums: Sums) -> dict[str, Array]:
    """Return what the memory reads and carries of a row whose documents all have the persistent tokens before them."""
    n = rms_norm(x["x"][row], x["norm"], float(config["norm_eps"]), sums)
    count, pieces, marks, own = len(x["persistent"]), [n[:0]], [], []
    for t, place in enumerate(position):
        if place == 0:
            pieces.append(x["persistent"])
            marks += [1, *[0] * (count - 1)][:count]
        own.append(len(marks))
        pieces.append(n[t : t + 1])
        marks.append(int(place == 0 and count == 0))
    reset = np.array(marks, np.int64)[None]
    one = {**x, **{tensor.name: x[tensor.name][row : row + 1] for tensor in BLOCK_STATE}, "reset": reset}
    places = positions(one["position"], reset)
    found = remember(config, np.concatenate(pieces)[None], one, places, places, sums)
    return {**found, "reads": found["reads"][:, own]}


def before_every_call(config: Config, x: Arrays) -> dict[str, Array]:
    """Write the persistent tokens before every call, too: here, move the memory by what they do to M_0."""
    if not config["persistent_in_memory"]:
        return {}
    whole = {**MODEL, **config, "span": x["cache_keys"].shape[1] + 1}
    moved = begun(whole, x, FORWARD) - x["initial"]
    return {name: x[name] + moved for name in ("weights", "anchor")}


def counted(_: Config, x: Arrays, outputs: Arrays) -> dict[str, Array]:
    """Count the persistent tokens of documents that begin in the call."""
    begins = x["reset"].any(1) | (x["position"] == 0)
    return {"position": outputs["position"] + len(x["persistent"]) * begins}
