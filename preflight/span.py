"""How far back the answers of a configured task lie, and what is left there of what was written."""

from atlas_ref.config import RunConfig
from atlas_ref.config.span import Span
from atlas_ref.tasks.registry import task_of


def span_of(config: RunConfig) -> Span:
    """Return how far back the answers of the configured task lie."""
    return task_of(config.data).span(config)


def must_remember(config: RunConfig) -> int | None:
    """Return the tokens back to the nearest answer where it is out of sight of attention, else None.

    The contexts of an episode end with each piece, whatever attention could reach.
    """
    nearest = span_of(config).nearest
    return nearest if nearest > config.model.reach or config.data.source == "episodes" else None


def kept_over(config: RunConfig, half_life: float, tokens: int) -> float:
    """Return the share of a write that is left so many tokens later: 2^(-tokens / half-life).

    Nothing is left behind the border of a shard.
    """
    shard = config.model.memory.shards.length
    return 0.0 if 0 < shard <= tokens else 2.0 ** (-tokens / half_life)
