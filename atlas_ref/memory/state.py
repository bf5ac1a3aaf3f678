"""State is a value: immutable trees of tensors that are passed in, returned, saved and reset as a whole.

Modules own parameters, never state. Every tensor has the batch as its first axis; row b belongs to stream b alone.
Notation: M = `weights`, S = `momentum`, xi = `anchor` (the weights at which gradients are taken, decision `chunks`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from atlas_ref.errors import UserError


def _rebuild(function: Callable[..., Tensor], name: str, nodes: tuple[Any, ...]) -> Any:
    """Apply `function(name, tensor, ...)` at each leaf of trees of one shape and return a tree of the results."""
    first = nodes[0]
    if isinstance(first, Tensor):
        return function(name, *nodes)
    prefix = f"{name}." if name else ""
    if isinstance(first, tuple):
        return tuple(_rebuild(function, f"{prefix}{i}", parts) for i, parts in enumerate(zip(*nodes, strict=True)))
    parts = {f.name: tuple(getattr(node, f.name) for node in nodes) for f in fields(first)}
    return replace(first, **{key: _rebuild(function, f"{prefix}{key}", part) for key, part in parts.items()})


Tree = TypeVar("Tree", bound="StateTree")


@dataclass(frozen=True)
class StateTree:
    """A frozen dataclass whose fields are tensors, tuples of state, or further trees."""

    def map(self: Tree, function: Callable[[Tensor], Tensor]) -> Tree:
        """Return the tree with `function` applied to every tensor."""
        tree: Tree = _rebuild(lambda _, tensor: function(tensor), "", (self,))
        return tree

    def detach(self: Tree) -> Tree:
        """Return the same values without their history: the one place where state leaves the graph."""
        return self.map(torch.Tensor.detach)

    def to(self: Tree, device: torch.device | str) -> Tree:
        """Return the tree on `device`."""
        return self.map(lambda tensor: tensor.to(device))

    @property
    def batch(self) -> int:
        """The number of rows."""
        return len(next(iter(self.to_tensors().values())))

    def rows(self: Tree, part: slice) -> Tree:
        """Return the state of some rows alone: a view."""
        return self.map(lambda tensor: tensor[part])

    def to_tensors(self) -> dict[str, Tensor]:
        """Return every tensor under its flat name, such as `layers.0.memory.weights.0`."""
        flat: dict[str, Tensor] = {}

        def collect(name: str, tensor: Tensor) -> Tensor:
            flat[name] = tensor
            return tensor

        _rebuild(collect, "", (self,))
        return flat

    def from_tensors(self: Tree, tensors: Mapping[str, Tensor]) -> Tree:
        """Return a tree of this tree's shape with the values of `tensors`; refuse any other shape, name or dtype."""
        expected = self.to_tensors()
        if missing := sorted(set(expected) - set(tensors)):
            raise UserError(f"state tensor '{missing[0]}' is missing ({len(missing)} in all)")
        if unknown := sorted(set(tensors) - set(expected)):
            raise UserError(f"state tensor '{unknown[0]}' is unknown ({len(unknown)} in all)")

        def take(name: str, template: Tensor) -> Tensor:
            found = tensors[name]
            if found.shape != template.shape or found.dtype != template.dtype:
                raise UserError(
                    f"state tensor '{name}' is {found.dtype} {list(found.shape)}, "
                    f"expected {template.dtype} {list(template.shape)}"
                )
            return found.to(template.device)

        tree: Tree = _rebuild(take, "", (self,))
        return tree


def join_rows(parts: Sequence[Tree]) -> Tree:
    """Return one state with the rows of all parts, in their order: the inverse of `StateTree.rows`."""
    if len(parts) == 1:
        return parts[0]
    tree: Tree = _rebuild(lambda _, *tensors: torch.cat(tensors), "", tuple(parts))
    return tree


@dataclass(frozen=True)
class MemoryState(StateTree):
    """Everything one memory must remember between calls; fp32 or wider.

    The tuples hold one matrix, W1 and W2, or W1, W2 and W3 as the architecture has, each [batch, heads, out, in].
    Under a link (`link`) `weights` and `anchor` are dual states A, in their canonical form.
    The window keeps the last c+N-2 feature/value pairs, oldest first, zero where the document is younger than that;
    `waiting` the window weights of the last N-1 tokens, zero for those whose losses are written (`functional.ttl`), and
    nothing where N = 1: a write at every token leaves none waiting.
    """

    weights: tuple[Float[Tensor, "batch heads _out _in"], ...]
    momentum: tuple[Float[Tensor, "batch heads _out _in"], ...]
    anchor: tuple[Float[Tensor, "batch heads _out _in"], ...]
    window_keys: Float[Tensor, "batch past heads features"]
    window_values: Float[Tensor, "batch past heads values"]
    position: Int[Tensor, " batch"]
    waiting: tuple[Float[Tensor, "batch _waiting heads _window"], ...] = ()

    def with_window(
        self, keys: Float[Tensor, "batch time heads features"], values: Float[Tensor, "batch time heads values"]
    ) -> tuple[Float[Tensor, "batch _time heads features"], Float[Tensor, "batch _time heads values"]]:
        """Return pairs of a call behind those of the window before it."""
        if self.window_keys.shape[1] == 0:
            return keys, values
        return torch.cat([self.window_keys, keys], 1), torch.cat([self.window_values, values], 1)


@dataclass(frozen=True)
class Held(StateTree):
    """The weights, or the moments of `ridge`, that a memory had at a moment that is over, and is still asked about."""

    weights: tuple[Float[Tensor, "batch heads _out _in"], ...]


class Carry(NamedTuple):
    """M, S and xi at one moment of a call: before a token, or at the border of a segment."""

    weights: tuple[Tensor, ...]
    momentum: tuple[Tensor, ...]
    anchor: tuple[Tensor, ...]


def fresh_memory_state(
    initial: tuple[Float[Tensor, "heads _out _in"], ...],
    batch: int,
    window: int,
    features: int,
    values: int,
    update_every: int = 1,
) -> MemoryState:
    """Return the state of `batch` rows before their first token: M = xi = M_0, S = 0, nothing in the window."""
    weights = tuple(matrix.unsqueeze(0).expand(batch, *matrix.shape) for matrix in initial)
    heads, like = initial[0].shape[0], initial[0]
    past, waiting = window + update_every - 2, update_every - 1
    return MemoryState(
        weights=weights,
        momentum=tuple(torch.zeros_like(matrix) for matrix in weights),
        anchor=weights,
        window_keys=like.new_zeros(batch, past, heads, features),
        window_values=like.new_zeros(batch, past, heads, values),
        position=torch.zeros(batch, dtype=torch.long, device=like.device),
        waiting=(like.new_zeros(batch, waiting, heads, window),) if waiting else (),
    )
