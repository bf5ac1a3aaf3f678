"""Variants of the recall study: a hierarchy of memories (TNT 2511.07343) with parts of it taken away.

Titans in the preset `recall`, with a feed-forward that pays for the memories: what a local memory and its gates cost in
parameters, its hidden width has less, so that all variants have as many to a hundred or so. Shards of 32 tokens are
shorter than the way from a pair to its query, so only the global memory can answer; with shards of 128, which are a
row, the local ones can too.
"""

from collections.abc import Mapping
from typing import Final

CHUNKS: Final = (8, 4, 16, 2)
"""Of the local memories, in the order in which they join."""
SHORT, LONG = 32, 128
WIDTH, EACH = 112, 16
"""Hidden width of the feed-forward beside a single memory, and what it has less for each local one."""


def hierarchy(count: int, shard: int, *changes: str, projection: str = "tnt") -> tuple[str, ...]:
    """Return the fields of a hierarchy with `count` local memories, 0 for a single memory, and of its feed-forward."""
    common = ("model.memory.rule='titans'", "model.feed_forward='swiglu'")
    width = f"model.feed_forward_dim={WIDTH - EACH * count}"
    if not count:
        return (*common, width, *changes)
    return (
        *common,
        width,
        "model.memory.kind='hierarchical'",
        f"model.memory.qk_projection.kind='{projection}'",
        f"model.memory.hierarchy.local_chunks={list(CHUNKS[:count])}",
        f"model.memory.hierarchy.local_shards={[shard] * count}",
        *changes,
    )


HIERARCHIES: Final[Mapping[str, tuple[str, ...]]] = {
    "titans, as wide": hierarchy(0, 0),
    **{f"tnt {count}": hierarchy(count, SHORT) for count in range(1, 5)},
    "tnt 1 no global": hierarchy(1, SHORT, "model.memory.hierarchy.global_writes=false"),
    "tnt 1 no projection": hierarchy(1, SHORT, projection="none"),
    **{f"tnt {count} long": hierarchy(count, LONG) for count in range(1, 5)},
    "tnt 1 long no global": hierarchy(1, LONG, "model.memory.hierarchy.global_writes=false"),
    "tnt 1 long no projection": hierarchy(1, LONG, projection="none"),
}
"""What each variant changes in the preset."""
