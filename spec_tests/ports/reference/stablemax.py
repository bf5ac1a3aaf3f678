"""StableMax, by the reference."""

from collections.abc import Mapping
from typing import Final

from atlas_ref.functional.stablemax import log_stablemax, stablemax, stablemax_loss
from spec_tests.port import Op
from spec_tests.ports.reference.tensors import Config, Function, Tensors


def _stablemax(_: Config, x: Tensors) -> Tensors:
    return {"probabilities": stablemax(x["x"])}


def _stablemax_loss(_: Config, x: Tensors) -> Tensors:
    return {"log_probabilities": log_stablemax(x["logits"]), "losses": stablemax_loss(x["logits"], x["labels"])}


FUNCTIONS: Final[Mapping[Op, Function]] = {Op.STABLEMAX: _stablemax, Op.STABLEMAX_LOSS: _stablemax_loss}
