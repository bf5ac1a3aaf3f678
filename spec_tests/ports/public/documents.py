"""The plainest memory document by document: what a package sees of a call, row by row.

A package that has no documents is given each as a call of its own, with the memory it begins with. States travel as the
matrices W [heads, values, features]; the specification packs them into vectors.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import torch
from torch import Tensor

from spec_tests.ports.public.torch_port import Config, Function, Tensors

TOKENS: Final[tuple[str, ...]] = (
    "keys",
    "values",
    "queries",
    "retention",
    "momentum_decay",
    "step_size",
    "window_weights",
    "threshold",
    "reset",
)
CARRIED: Final = ("weights", "momentum", "anchor")


class Memory(NamedTuple):
    """The memory of one row: M, S, and the M that the last gradient was taken at."""

    weights: Tensor
    momentum: Tensor
    anchor: Tensor


Document = Callable[[Config, Memory, Tensors], tuple[Tensor, Memory]]
"""From a memory and the tokens [time, heads, ...] of one document to reads [time, heads, values] and the memory."""


def scan(document: Document) -> Function:
    """Return the operation that a document at a time makes of a call."""

    def answer(config: Config, x: Tensors) -> Tensors:
        rows = [_row(document, config, _of_row(x, i)) for i in range(x["position"].shape[0])]
        kept = {name: x[name] for name in ("window_keys", "window_values")}
        if not rows:
            return kept | {"reads": x["values"], "position": x["position"]} | {name: x[name] for name in CARRIED}
        return kept | {name: torch.stack([row[name] for row in rows]) for name in rows[0]}

    return answer


def step(document: Document) -> Function:
    """Return the operation of one token, a call of length 1."""
    whole = scan(document)

    def answer(config: Config, x: Tensors) -> Tensors:
        found = whole(config, x | {name: x[name].unsqueeze(1) for name in TOKENS if name in x})
        return found | {"reads": found["reads"].squeeze(1)}

    return answer


def _of_row(x: Tensors, row: int) -> Tensors:
    return {name: value if name == "initial" else value[row] for name, value in x.items()}


def _row(document: Document, config: Config, x: Tensors) -> Tensors:
    shape = (x["values"].shape[-1], x["keys"].shape[-1])
    initial = torch.unflatten(x["initial"], -1, shape)
    memory = Memory(*(torch.unflatten(x[name], -1, shape) for name in CARRIED))
    position, time = int(x["position"]), x["reset"].shape[0]
    begins = [place for place in range(time) if x["reset"][place] or (place == 0 and position == 0)]
    reads = [x["values"][:0]]
    for start, end in zip(cuts := sorted({0, *begins}), [*cuts[1:], time], strict=True):
        if start in begins:
            memory, position = Memory(initial, torch.zeros_like(initial), initial), 0
        if end > start:
            tokens = {name: x[name][start:end] for name in TOKENS if name in x}
            read, memory = document(config, memory, tokens)
            reads.append(read)
        position += end - start
    packed = {name: value.flatten(-2) for name, value in zip(CARRIED, memory, strict=True)}
    return {"reads": torch.cat(reads), "position": torch.tensor(position), **packed}


def one_by_one(token: Document) -> Document:
    """Return the document that a call of the package for every token makes."""

    def document(config: Config, memory: Memory, tokens: Tensors) -> tuple[Tensor, Memory]:
        reads = []
        for place in range(tokens["reset"].shape[0]):
            read, memory = token(config, memory, {name: value[place : place + 1] for name, value in tokens.items()})
            reads.append(read)
        return torch.cat(reads), memory

    return document
