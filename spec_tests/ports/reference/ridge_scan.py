"""Ridge regression over a sequence, by the reference."""

from collections.abc import Mapping
from typing import Final

from atlas_ref.functional.normalize import at_least_float32
from atlas_ref.memory.ridge import RidgeState, ridge_scan
from spec_tests.port import Op
from spec_tests.ports.reference.tensors import Config, Function, Tensors


def _ridge_scan(_: Config, x: Tensors) -> Tensors:
    keys, values, queries = (at_least_float32(x[name]) for name in ("keys", "values", "queries"))
    state = RidgeState(x["cross"], x["gram"], x["position"])
    gates = x["retention"], x["step_size"], x["ridge"]
    reads, after = ridge_scan(keys, values, queries, *gates, x["reset"].bool(), state)
    return {"reads": reads.to(x["values"].dtype), "cross": after.cross, "gram": after.gram, "position": after.position}


FUNCTIONS: Final[Mapping[Op, Function]] = {Op.RIDGE_SCAN: _ridge_scan}
