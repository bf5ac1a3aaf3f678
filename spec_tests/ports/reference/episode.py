"""Episodes, by the reference."""

from collections.abc import Mapping
from typing import Final

import torch

from atlas_ref.data.episode_rows import Laid, lay_out
from atlas_ref.functional.episode_loss import IGNORED, target_weights, weighted_loss
from spec_tests.port import Op
from spec_tests.ports.reference.tensors import Config, Function, Tensors


def _episode_rows(config: Config, x: Tensors) -> Tensors:
    laid = lay_out(x["pieces"], x["answers"], x["lengths"], config["mask"])
    batch, count, length = x["pieces"].shape
    return {name: getattr(laid, name).reshape(batch, 2, count, length).long() for name in Laid._fields}


def _episode_loss(config: Config, x: Tensors) -> Tensors:
    logits, targets = x["logits"], x["targets"]
    kind = torch.promote_types(logits.dtype, torch.float32)
    weight = target_weights(targets, x["retrieved"].bool(), config["storage"], config["retrieval"]).to(kind)
    scored = (targets != IGNORED).sum().clamp(min=1)
    rows = [
        weighted_loss(logits[row : row + 1], targets[row : row + 1], weight[row : row + 1]) / scored
        for row in range(len(targets))
    ]
    return {"weights": weight, "losses": torch.stack(rows)}


FUNCTIONS: Final[Mapping[Op, Function]] = {Op.EPISODE_ROWS: _episode_rows, Op.EPISODE_LOSS: _episode_loss}
