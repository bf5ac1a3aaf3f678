"""Where the tokens of a call stand: in their context, and in what their memory has seen.

Attention, the angles of its keys and the short convolution look at a *context*: their position counts from the token
that began it. The memory, its chunks and shards and the Q-K projection look at what the memory has seen, and count from
where it began. One mark usually begins both, a document; two of them (`Resets`) let a memory be handed on to a context
that holds nothing of what was written, as in episodes of storage and retrieval (decision `marks`).

Every layer has seen the same tokens, so one timeline serves all.
"""

from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Bool, Int
from torch import Tensor

from atlas_ref.config.memory import MemoryConfig
from atlas_ref.memory.plan import SegmentPlan, make_plan, token_positions


class Resets(NamedTuple):
    """Which tokens begin a context, and which a memory; None: no token does."""

    context: Bool[Tensor, "batch time"] | None = None
    memory: Bool[Tensor, "batch time"] | None = None


@dataclass(frozen=True)
class Timeline:
    """The index of each token in its context, the tokens that begin a memory, and the layout of what it writes."""

    context: Int[Tensor, "batch time"]
    reset: Bool[Tensor, "batch time"] | None
    plan: SegmentPlan

    def seen(self, before: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """Return how many tokens of its context each row has read after the call, `before` if the call is empty."""
        return self.context[:, -1] + 1 if self.context.shape[1] else before


def resets_of(reset: Bool[Tensor, "batch time"] | Resets | None) -> Resets:
    """Return two marks; where there is one, it begins both."""
    return reset if isinstance(reset, Resets) else Resets(reset, reset)


def make_timeline(
    memory: MemoryConfig,
    context: Int[Tensor, " batch"],
    position: Int[Tensor, " batch"],
    reset: Bool[Tensor, "batch time"] | Resets | None,
    time: int,
) -> Timeline:
    """Return the timeline of a call of `time` tokens.

    Row b comes with `context[b]` tokens of its context and a memory that has seen `position[b]` tokens.
    """
    marks = resets_of(reset)
    plan = make_plan(position, marks.memory, time, memory.chunk, memory.shards.length)
    return Timeline(token_positions(context, marks.context, time), marks.memory, plan)
