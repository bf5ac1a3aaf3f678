"""What is retrieved, by the reference."""

from collections.abc import Mapping
from typing import Final

import torch

from atlas_ref.metrics.retrieval import retrieval_gain
from spec_tests.port import Op
from spec_tests.ports.reference.tensors import Config, Function, Tensors


def _retrieval_gain(_: Config, x: Tensors) -> Tensors:
    found = retrieval_gain(x["right"], x["without"], x["asked"].bool())
    return {name: torch.stack(part) for name, part in zip(("stored", "skipped", "gain"), found, strict=True)}


FUNCTIONS: Final[Mapping[Op, Function]] = {Op.RETRIEVAL_GAIN: _retrieval_gain}
