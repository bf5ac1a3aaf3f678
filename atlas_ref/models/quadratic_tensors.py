"""Every tensor of a model of the family `quadratic`, and what a token costs, from the configuration alone."""

from collections.abc import Iterator
from math import prod

from atlas_ref.config.quadratic import QuadraticConfig
from atlas_ref.models.flops import BACKWARD
from atlas_ref.models.tensors import TensorInfo


def tensors(config: QuadraticConfig) -> tuple[TensorInfo, ...]:
    """Return every tensor of a model of `config`."""
    return tuple(_tensors(config))


def _tensors(config: QuadraticConfig) -> Iterator[TensorInfo]:
    vocab, d, hidden = config.vocab_size, config.d_model, config.hidden
    yield TensorInfo("embedding.weight", (vocab, d), "token, model", "row of each token")
    yield TensorInfo("hidden.weight", (hidden, d), "hidden, model", "W_in: what is squared of a sum of rows")
    yield TensorInfo("head.weight", (vocab, hidden), "token, hidden", "W_out: logits of the squares")


def count_parameters(config: QuadraticConfig) -> int:
    """Return the number of parameters of a model, without building it."""
    return sum(prod(info.shape) for info in tensors(config))


def training_flops(config: QuadraticConfig) -> int:
    """Return the operations of a training step for each token of pairs, of which one in two is answered.

    2 for every entry of the two matrices, three times over.
    """
    return BACKWARD * config.hidden * (config.d_model + config.vocab_size)
