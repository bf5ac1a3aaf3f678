"""Where an ATLAS model leaves something out in training: what each site draws from.

    embedding    E[token]                                       memory      norm(reads)
    attention    softmax weights of sliding windows             residual    what blocks and feed-forwards add

Each site of each layer has numbers of its own, made from those of the row (`functional.dropout`).
"""

from typing import NamedTuple

from jaxtyping import Int
from torch import Tensor

from atlas_ref.config.dropout import DropoutConfig
from atlas_ref.functional.dropout import Drop, site_keys


class LayerDrops(NamedTuple):
    """What a layer leaves out; None: nothing at that site."""

    attention: Drop | None = None
    memory: Drop | None = None
    residual: Drop | None = None
    feed_forward: Drop | None = None


class Drops(NamedTuple):
    """What a model leaves out of its embeddings, and in each layer."""

    embedding: Drop | None
    layers: tuple[LayerDrops, ...]


def drops_of(config: DropoutConfig, draws: Int[Tensor, "batch 2"] | None, layers: int) -> Drops:
    """Return what a call leaves out: nothing without draws, which training alone has."""
    if draws is None or not config.acts:
        return Drops(None, (LayerDrops(),) * layers)
    rates = (config.attention, config.memory, config.residual, config.residual)
    keys = iter(site_keys(draws, 1 + len(rates) * layers).unbind(0))

    def drop(rate: float) -> Drop | None:
        drawn = next(keys)
        return Drop(rate, drawn) if rate else None

    return Drops(drop(config.embedding), tuple(LayerDrops(*map(drop, rates)) for _ in range(layers)))
