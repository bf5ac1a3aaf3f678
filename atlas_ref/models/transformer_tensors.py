"""Every tensor of a model of the family `transformer`, and what a token costs, from the configuration alone."""

from math import prod

from atlas_ref.config.transformer import TransformerConfig
from atlas_ref.models.flops import BACKWARD
from atlas_ref.models.tensors import LAYER, TensorInfo


def tensors(config: TransformerConfig) -> tuple[TensorInfo, ...]:
    """Return every tensor of a model of `config`."""
    vocab, d = config.vocab_size, config.d_model
    layers = (
        info._replace(name=LAYER.format(n) + info.name) for n in range(config.n_layers) for info in _layer(config)
    )
    return (
        TensorInfo("embedding.weight", (vocab, d), "token, model", "row of each token"),
        TensorInfo("position.weight", (config.positions, d), "position, model", "added to the row of the token there"),
        *layers,
        TensorInfo("head.weight", (vocab, d), "token, model", "W_out: logits of the stream"),
    )


def count_parameters(config: TransformerConfig) -> int:
    """Return the number of parameters of a model, without building it."""
    return sum(prod(info.shape) for info in tensors(config))


def training_flops(config: TransformerConfig) -> int:
    """Return the operations of a training step for each token of its batch, as `models.flops` counts them.

    2 for every entry of the matrices, and 4 d_model for each token that attention may see, three times over.
    """
    weights = 2 * sum(prod(info.shape) for info in _layer(config))
    attention = 4 * config.d_model * config.positions
    return BACKWARD * (config.n_layers * (weights + attention) + 2 * config.d_model * config.vocab_size)


def _layer(config: TransformerConfig) -> tuple[TensorInfo, ...]:
    """Return the tensors of a layer."""
    d, hidden = config.d_model, config.feed_forward_dim
    return (
        TensorInfo("projection.weight", (3 * d, d), "q k v, model", "W_qkv; each of q, k, v by heads"),
        TensorInfo("output.weight", (d, d), "model, model", "W_o"),
        TensorInfo("up.weight", (hidden, d), "hidden, model", "W_up of the feed-forward"),
        TensorInfo("down.weight", (d, hidden), "model, hidden", "W_down of the feed-forward"),
    )
