"""Muon, Grokfast, perp-grad and QK-clip, by the reference."""

from collections.abc import Mapping
from typing import Final

from atlas_ref.functional.normalize import at_least_float32
from atlas_ref.optim.grokfast import grokfast
from atlas_ref.optim.muon import muon_step
from atlas_ref.optim.perp_grad import perp_grad
from atlas_ref.optim.qk_clip import largest_in_sight, largest_logit, qk_clip
from spec_tests.port import Op
from spec_tests.ports.reference.tensors import Config, Function, Tensors


def _muon_step(config: Config, x: Tensors) -> Tensors:
    weight, buffer = muon_step(
        x["weight"],
        x["buffer"],
        x["gradient"],
        learning_rate=config["learning_rate"],
        momentum=config["momentum"],
        weight_decay=config["weight_decay"],
        coefficients=config["coefficients"],
        steps=config["newton_schulz_steps"],
        start=config["start"],
    )
    return {"weight": weight, "buffer": buffer}


def _grokfast(config: Config, x: Tensors) -> Tensors:
    filtered, averages = grokfast(x["gradients"], config["alpha"], config["strength"])
    return {"filtered": filtered, "averages": averages}


def _perp_grad(config: Config, x: Tensors) -> Tensors:
    return {"filtered": perp_grad(x["weight"], x["gradient"], config["rescale"])}


def _qk_clip(config: Config, x: Tensors) -> Tensors:
    maximum = largest_logit(at_least_float32(x["queries"]), at_least_float32(x["keys"]), causal=config["causal"])
    query_weight, key_weight = qk_clip(x["query_weight"], x["key_weight"], maximum, config["threshold"])
    return {"maximum": maximum, "query_weight": query_weight, "key_weight": key_weight}


def _qk_clip_in_sight(config: Config, x: Tensors) -> Tensors:
    queries, keys, persistent, cache = (
        at_least_float32(x[name]) for name in ("queries", "keys", "persistent_keys", "cache_keys")
    )
    maximum = largest_in_sight(queries, keys, persistent, cache, x["position"])
    query_weight, key_weight = qk_clip(x["query_weight"], x["key_weight"], maximum, config["threshold"])
    return {"maximum": maximum, "query_weight": query_weight, "key_weight": key_weight}


FUNCTIONS: Final[Mapping[Op, Function]] = {
    Op.MUON_STEP: _muon_step,
    Op.GROKFAST: _grokfast,
    Op.PERP_GRAD: _perp_grad,
    Op.QK_CLIP: _qk_clip,
    Op.QK_CLIP_IN_SIGHT: _qk_clip_in_sight,
}
