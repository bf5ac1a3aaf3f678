"""A hierarchy of memories: one that runs through a document and local ones that begin anew with every shard of it.

TNT (arXiv 2511.07343) Eq. 5-7. All memories see the same keys and values, each with gates, a chunk and an initial state
of its own; p is the position of a token in its document, S_m the shard length of memory m. For each token and memory:

    RESET    where the document begins, or p mod S_m = 0 (never where S_m = 0): M = xi = W_init, S = 0, an empty window
    ANCHOR   where p mod b_m = 0, which divides S_m: xi <- M
    WRITE    as `recurrent`, with the window of the shard alone
    PROJECT  Pi <- Pi + k k^T/||k||^2, from zero at each start of the `span`
    READ     memory 0, the global one: xi(q_t), the memory at the start of its chunk and the query as it is
             the local ones:           M_t(Pi_t q_t), after the write and in the span of the keys that they have seen

    y_t = sum over the memories of their reads.

Eq. 6 as printed takes the sum of a chunk's gradients inside the recurrence, which counts early ones several times; here
each counts once (decision `chunks`). The sum of Eq. 7 begins with the shard, as in the paper's appendix (`span`).

Under `border` = m3 a shard inherits a share of momentum and Pi, and the window goes on (`shards`); under `reset`, the
default, nothing goes over a border. Then shards need not be run one after another (`folding`): the form below that does
so, and the loop over tokens, are the same function with another way to run a memory.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from atlas_ref.errors import UserError
from atlas_ref.functional.qk_projection import qk_project
from atlas_ref.memory.architecture import Weights
from atlas_ref.memory.folding import run_folded
from atlas_ref.memory.kernels.choice import Kernels
from atlas_ref.memory.layout import make_plan
from atlas_ref.memory.plan import token_positions
from atlas_ref.memory.recurrent import MemoryOutput, memory_recurrent
from atlas_ref.memory.rules import Gates, MemoryRule
from atlas_ref.memory.shards import Shards, qk_project_in_shards
from atlas_ref.memory.state import MemoryState, StateTree, fresh_memory_state

Span = Literal["shard", "chunk", "document", "none"]
Border = Literal["reset", "m3"]
Features = Callable[[Tensor], Tensor]
Run = Callable[..., MemoryOutput]
"""How one memory of the hierarchy is run over a call: with the arguments of `memory_recurrent`."""
Runs = Callable[[int], Run]
"""How a memory is run that forgets everything after so many tokens of a document, 0: never."""


@dataclass(frozen=True)
class Hierarchy:
    """What each memory is, the global one first, and how long its shards are; 0: it is never reset in a document."""

    rules: tuple[MemoryRule, ...]
    shards: tuple[int, ...]
    span: Span = "shard"
    border: Border = "reset"

    def __post_init__(self) -> None:
        """Refuse what is no hierarchy, in one sentence."""
        if not self.rules or len(self.rules) != len(self.shards):
            raise UserError(f"hierarchy: {len(self.rules)} rules and {len(self.shards)} shards, valid is one for each")
        if self.shards[0] != 0:
            raise UserError(f"hierarchy: the global memory has shards of {self.shards[0]} tokens, valid is 0 for none")
        for number, (rule, shard) in enumerate(zip(self.rules, self.shards, strict=True)):
            read = "post" if number else "anchor"
            if rule.read != read:
                raise UserError(f"hierarchy: memory {number} reads '{rule.read}', valid is '{read}'")
            if shard < 0 or shard % rule.chunk:
                raise UserError(
                    f"hierarchy: memory {number} has shards of {shard} tokens, valid are multiples of its chunk of "
                    f"{rule.chunk}, or 0 for none"
                )


@dataclass(frozen=True)
class HierarchicalState(StateTree):
    """What the memories remember between calls, Pi of each local one, and the tokens that each row's document has.

    `position` of the state of a memory counts from the start of its shard under `border` = reset.
    """

    memories: tuple[MemoryState, ...]
    projections: tuple[Float[Tensor, "batch heads dim dim"], ...]
    position: Int[Tensor, " batch"]


class HierarchicalOutput(NamedTuple):
    """The sum of the reads, the state after the last token, and the reads of each memory."""

    reads: Float[Tensor, "batch time heads values"]
    state: HierarchicalState
    each: tuple[Float[Tensor, "batch time heads values"], ...]


def as_they_are(x: Tensor) -> Tensor:
    """Return keys or queries unchanged: a memory whose features are its keys."""
    return x


def memory_hierarchical(
    hierarchy: Hierarchy,
    keys: Float[Tensor, "batch time heads dim"],
    values: Float[Tensor, "batch time heads values"],
    queries: Float[Tensor, "batch time heads dim"],
    gates: Sequence[Gates],
    initial: Sequence[tuple[Float[Tensor, "heads _out _in"], ...]],
    state: HierarchicalState,
    reset: Bool[Tensor, "batch time"] | None,
    *,
    features: Features = as_they_are,
    mixing: Sequence[Shards | None] | None = None,
    writes: Sequence[bool] | None = None,
) -> HierarchicalOutput:
    """Run every memory token by token (module docstring; TNT 2511.07343 Eq. 5-7).

    `gates` and `initial`, W_init, have an entry for each memory. `features` is applied to keys and queries where a
    memory meets them, after the projection. `mixing` says under `border` = m3, and only there, what goes over the
    borders of each memory; None for the global one. `writes` says which memories are written, None: all; the others go
    on in everything else. Raises UserError where these do not fit together.
    """
    given = (keys, values, queries, gates, initial, state, reset)
    return _each_memory(lambda every: memory_recurrent, hierarchy, *given, features, mixing, writes)


def hierarchical_chunked(
    hierarchy: Hierarchy,
    keys: Float[Tensor, "batch time heads dim"],
    values: Float[Tensor, "batch time heads values"],
    queries: Float[Tensor, "batch time heads dim"],
    gates: Sequence[Gates],
    initial: Sequence[tuple[Float[Tensor, "heads _out _in"], ...]],
    state: HierarchicalState,
    reset: Bool[Tensor, "batch time"] | None,
    *,
    features: Features = as_they_are,
    mixing: Sequence[Shards | None] | None = None,
    writes: Sequence[bool] | None = None,
    kernels: Kernels = "reference",
) -> HierarchicalOutput:
    """Return what `memory_hierarchical` does: each memory in its parallel form, shards side by side (`folding`)."""
    given = (keys, values, queries, gates, initial, state, reset)

    def folded(every: int) -> Run:
        return partial(run_folded, every=every, kernels=kernels)

    return _each_memory(folded, hierarchy, *given, features, mixing, writes)


def fresh_hierarchical_state(
    hierarchy: Hierarchy, initial: Sequence[Weights], batch: int, window: int, keys: int, features: int, values: int
) -> HierarchicalState:
    """Return the state of `batch` rows before their first token; `keys` is the dimension of raw keys."""
    memories = tuple(
        fresh_memory_state(first, batch, window, features, values, rule.update_every)
        for rule, first in zip(hierarchy.rules, initial, strict=True)
    )
    like = initial[0][0]
    projections = tuple(like.new_zeros(batch, like.shape[0], keys, keys) for _ in hierarchy.rules[1:])
    return HierarchicalState(memories, projections, torch.zeros(batch, dtype=torch.long, device=like.device))


def _each_memory(
    runs: Runs,
    hierarchy: Hierarchy,
    keys: Tensor,
    values: Tensor,
    queries: Tensor,
    gates: Sequence[Gates],
    initial: Sequence[Weights],
    state: HierarchicalState,
    reset: Tensor | None,
    features: Features,
    mixing: Sequence[Shards | None] | None,
    writes: Sequence[bool] | None,
) -> HierarchicalOutput:
    """Run the memories one after another, each as `runs` says, and add their reads."""
    inherited = _mixing(hierarchy, mixing)
    if keys.shape[1] == 0:
        return HierarchicalOutput(values, state, (values,) * len(hierarchy.rules))
    position = token_positions(state.position, reset, keys.shape[1])
    seen_keys = features(keys)
    reads, memories, projections = [], [], []
    for number, (rule, shard) in enumerate(zip(hierarchy.rules, hierarchy.shards, strict=True)):
        own = queries
        if number:
            before = state.projections[number - 1]
            own, after = _projected(hierarchy, number, queries, keys, before, position, state, reset, inherited)
            projections.append(after)
        every = 0 if hierarchy.border == "m3" else shard
        found = runs(every)(
            rule,
            seen_keys,
            values,
            features(own),
            gates[number],
            initial[number],
            state.memories[number],
            position % every == 0 if every else position == 0,
            writes=writes is None or writes[number],
            shards=inherited[number],
        )
        reads.append(found.reads)
        memories.append(found.state)
    after_all = replace(state, memories=tuple(memories), projections=tuple(projections), position=position[:, -1] + 1)
    return HierarchicalOutput(torch.stack(reads).sum(0), after_all, tuple(reads))


def _projected(
    hierarchy: Hierarchy,
    number: int,
    queries: Tensor,
    keys: Tensor,
    before: Tensor,
    position: Tensor,
    state: HierarchicalState,
    reset: Tensor | None,
    mixing: Sequence[Shards | None],
) -> tuple[Tensor, Tensor]:
    """PROJECT: return Pi_t q_t of a local memory and Pi after the call."""
    rule, shard = hierarchy.rules[number], hierarchy.shards[number]
    if hierarchy.span == "none":
        return queries, before
    inherited = mixing[number]
    if inherited is not None and hierarchy.span == "shard":
        plan = make_plan(state.position, reset, keys.shape[1], rule.chunk, inherited.length)
        return qk_project_in_shards(queries, keys, before, plan, inherited)[:2]
    length = {"shard": shard, "chunk": rule.chunk, "document": 0}[hierarchy.span]
    return qk_project(queries, keys, before, position % length if length else position)[:2]


def _mixing(hierarchy: Hierarchy, mixing: Sequence[Shards | None] | None) -> Sequence[Shards | None]:
    """Return what each memory inherits, None for nothing; raise UserError where it does not fit the shards."""
    given = (None,) * len(hierarchy.rules) if mixing is None else mixing
    wanted = [shard if hierarchy.border == "m3" else 0 for shard in hierarchy.shards]
    found = [0 if shards is None else shards.length for shards in given]
    if found != wanted:
        raise UserError(
            f"hierarchy: with border '{hierarchy.border}' the memories inherit over shards of {found} tokens, valid is "
            f"{wanted}"
        )
    return given
