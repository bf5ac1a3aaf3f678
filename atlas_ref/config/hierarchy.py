"""The local memories of a hierarchy, beside the global one that has the chunk of the memory (TNT 2511.07343)."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from atlas_ref.config.section import Section, listed

MOST_LOCALS = 4
"""Local memories of a hierarchy, as many as the paper tries."""


Chunks = Annotated[tuple[Annotated[int, Field(ge=1, le=65_536)], ...], BeforeValidator(listed)]
Lengths = Annotated[tuple[Annotated[int, Field(ge=0, le=10_000_000)], ...], BeforeValidator(listed)]


class HierarchyConfig(Section):
    """The local memories, where `kind` is "hierarchical": one to four, each an entry of the lists."""

    local_chunks: Chunks
    """tokens of a chunk of each local memory; the global one has the chunk of the memory"""
    local_shards: Lengths
    """tokens after which each local memory begins anew, whole chunks of its own; 0: with the document alone"""
    local_step_chunks: Chunks
    """step_chunk of each local memory; []: its own chunk"""
    border: Literal["reset", "m3"]
    """reset: nothing goes over the border of a shard; m3: window, and a share of momentum and projection, do"""
    global_writes: bool
    """false: ablation: same parameters, but nothing is written to the global memory"""

    def local_problems(self, name: str) -> Iterator[str]:
        """Yield a sentence for lists that are no local memories; `name` is that of this section."""
        count = len(self.local_chunks)
        if not 1 <= count <= MOST_LOCALS:
            yield f"{name}.local_chunks has {count} entries; it must have one for each of 1 to {MOST_LOCALS} memories"
        for field, entries in (("local_shards", self.local_shards), ("local_step_chunks", self.local_step_chunks)):
            if len(entries) != count and (entries or field == "local_shards"):
                yield f"{name}.{field} has {len(entries)} entries; it must have {count}, as {name}.local_chunks has"
        for chunk, shard in zip(self.local_chunks, self.local_shards, strict=False):
            if shard % chunk:
                yield (
                    f"{name}.local_shards has {shard}; it must be a multiple of that memory's chunk, which is {chunk}, "
                    "or 0 for no shards"
                )
