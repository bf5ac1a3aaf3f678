"""The recursion of a tiny recursive model, by the reference."""

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from atlas_ref.functional.normalize import at_least_float32
from atlas_ref.functional.supervision import supervised_loss
from atlas_ref.functional.trm import NetWeights, apply_net, trm_recursion
from spec_tests.port import Op
from spec_tests.ports.reference.tensors import Config, Function, Tensors


def _trm_recursion(config: Config, x: Tensors) -> Tensors:
    features, y, z = (at_least_float32(x[name]) for name in ("x", "y", "z"))
    position = x["position"]
    heads, dim, _ = x["query"].shape
    packed = torch.cat([x[name].flatten(0, 1) for name in ("query", "key", "value")])
    weights = NetWeights(packed, x["output"].flatten(1), torch.cat([x["gate"], x["up"]]), x["down"])
    # Whole documents in a call: nothing is seen from before it, so the positions begin with the call.
    cache = features.new_zeros(len(features), config["window"] - 1, heads, dim)
    places = torch.minimum(position, torch.arange(position.shape[1]))

    def net(u: Tensor) -> Tensor:
        made, _, _ = apply_net(u, weights, cache, cache, places, heads, config["norm_eps"])
        return made

    y, z = trm_recursion(
        y,
        z,
        lambda y, z: net(z + y + features),
        lambda y, z: net(y + z),
        config["micro_steps"],
        config["recursions"],
        config["no_grad_recursions"],
    )
    kind = x["y"].dtype
    return {"latent": z.to(kind), "answer": y.to(kind)}


def _supervised_loss(_: Config, x: Tensors) -> Tensors:
    return {"loss": torch.stack([supervised_loss(row, x["weights"]) for row in x["losses"]])}


FUNCTIONS: Final[Mapping[Op, Function]] = {Op.TRM_RECURSION: _trm_recursion, Op.SUPERVISED_LOSS: _supervised_loss}
