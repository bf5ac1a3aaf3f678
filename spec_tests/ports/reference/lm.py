"""The language model over two blocks, by the reference."""

from collections.abc import Mapping
from functools import cache
from typing import Final

from torch.func import functional_call

from atlas_ref.config.model import ModelConfig
from atlas_ref.models.atlas import AtlasModel, ModelState
from spec_tests.port import Op
from spec_tests.ports.reference.blocks import block_weights, layer_state, model_config, state_tensors
from spec_tests.ports.reference.tensors import Config, Function, Tensors

LAYERS: Final = ("0.", "1.")
FEED_NAMES: Final = {"feed_norm": "norm.weight", "feed_up": "up.weight", "feed_down": "output.weight"}


@cache
def _model(config: ModelConfig) -> AtlasModel:
    """Return a model whose own parameters are never used."""
    return AtlasModel(config, seed=0)


def _lm_forward(config: Config, x: Tensors) -> Tensors:
    layers = [{name[2:]: value for name, value in x.items() if name.startswith(prefix)} for prefix in LAYERS]
    vocabulary, feed = x["embedding"].shape[0], layers[0]["feed_down"].shape[1]
    model = _model(model_config(config, layers[0], vocabulary, feed))
    weights = {"embedding.weight": x["embedding"], "norm.weight": x["final_norm"]}
    for number, layer in enumerate(layers):
        weights |= {f"layers.{number}.mag.{name}": value for name, value in block_weights(config, layer).items()}
        weights |= {f"layers.{number}.feed_forward.{name}": layer[ours] for ours, name in FEED_NAMES.items()}
    state = ModelState(tuple(layer_state(config, layer) for layer in layers))
    output = functional_call(model, weights, (x["tokens"], state, x["reset"].bool()))
    after = {
        f"{prefix}{name}": value
        for prefix, layer in zip(LAYERS, output.state.layers, strict=True)
        for name, value in state_tensors(layer).items()
    }
    return {"logits": output.logits, **after}


FUNCTIONS: Final[Mapping[Op, Function]] = {Op.LM_FORWARD: _lm_forward}
