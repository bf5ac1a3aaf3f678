"""Every tensor of a model of the family `perceptron`, and what a token costs, from the configuration alone."""

from collections.abc import Iterator
from itertools import pairwise
from math import prod

from atlas_ref.config.perceptron import PerceptronConfig
from atlas_ref.models.flops import BACKWARD
from atlas_ref.models.tensors import TensorInfo


def tensors(config: PerceptronConfig) -> tuple[TensorInfo, ...]:
    """Return every tensor of a model of `config`."""
    return tuple(_tensors(config))


def _tensors(config: PerceptronConfig) -> Iterator[TensorInfo]:
    vocab, d, hidden = config.vocab_size, config.d_model, config.hidden
    first = ("hidden, model", "W_1: what is activated of a sum of rows")
    if d:
        yield TensorInfo("embedding.weight", (vocab, d), "token, model", "row of each token")
    else:
        first = ("hidden, token", "W_1: a column for each token at the first place, then at the second")
    yield TensorInfo("hidden.0.weight", (hidden[0], d or 2 * vocab), *first)
    for number, (before, width) in enumerate(pairwise(hidden), 1):
        yield TensorInfo(f"hidden.{number}.weight", (width, before), "hidden, hidden", f"W_{number + 1}")
    yield TensorInfo("head.weight", (vocab, hidden[-1]), "token, hidden", "W_out: logits of the last layer")


def count_parameters(config: PerceptronConfig) -> int:
    """Return the number of parameters of a model, without building it."""
    return sum(prod(info.shape) for info in tensors(config))


def training_flops(config: PerceptronConfig) -> int:
    """Return the operations of a training step for each token of pairs, of which one in two is answered.

    2 for every entry of the matrices, three times over; a one-hot vector picks a column, which is no product.
    """
    widths = (config.d_model, *config.hidden, config.vocab_size)
    return BACKWARD * sum(before * after for before, after in pairwise(widths))
