"""The `NeuralMemory` of titans-pytorch and of its fork under the specification's names: state packed and unpacked.

What makes the module, its projections replaced, and the type of its state are the package's (`Package`).
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

Config = Mapping[str, Any]
Tensors = dict[str, Tensor]
Weights = dict[str, Tensor]


class Package(NamedTuple):
    """What an adapter takes from its package.

    `make`: from a configuration, a width and a hidden width (0 for a matrix) to its memory. `state`: of its memory.
    """

    make: Callable[[Config, int, int], Any]
    state: Any


class Pick(nn.Module):
    """In place of a projection: some of the entries of the sequence, brought into a shape."""

    def __init__(self, entries: slice, shape: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.entries, self.shape = entries, shape

    def forward(self, sequence: Tensor) -> Tensor:
        return self.shape(sequence[..., self.entries])


class Residual(nn.Module):
    """The memory `mlp`: x plus the package's own two-layer network, which has no norm."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = self.model(x)
        return x + inner


def replace_projections(memory: Any, width: int) -> None:
    """Let a memory read its keys, values, queries, step and the logits of two gates out of the sequence."""
    memory.to_keys, memory.to_values, memory.to_queries = (
        Pick(slice(i * width, (i + 1) * width), lambda part: part) for i in range(3)
    )
    step, momentum, decay = (slice(i, i + 1) for i in range(3 * width, 3 * width + 3))
    memory.to_adaptive_step = Pick(step, lambda part: part.squeeze(-1))
    memory.to_momentum = Pick(momentum, lambda part: part.unsqueeze(0))
    memory.to_decay_factor = Pick(decay, lambda part: part)


class Packing:
    """Vectors of parameters as the package's weights and back: its matrices are the transposes, of one width."""

    def __init__(self, config: Config, features: int, values: int, parameters: int) -> None:
        self.mlp = config["architecture"] == "mlp"
        self.features, self.values = features, values
        self.width = max(features, values)
        self.hidden = parameters // (features + values) if self.mlp else 0

    def weights(self, packed: Tensor) -> Weights:
        """Return the weights [heads, in, out] of vectors [heads, parameters]."""
        wide, tall = self.width - self.features, self.width - self.values
        if not self.mlp:
            matrix = torch.unflatten(packed, -1, (self.values, self.features))
            return {"weights.0": pad(matrix, (0, wide, 0, tall)).mT}
        outer, inner = torch.split(packed, [self.values * self.hidden, self.hidden * self.features], dim=-1)
        outer = torch.unflatten(outer, -1, (self.values, self.hidden))
        inner = torch.unflatten(inner, -1, (self.hidden, self.features))
        return {"model.weights.0": pad(inner, (0, wide)).mT, "model.weights.1": pad(outer, (0, 0, 0, tall)).mT}

    def packed(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Return the vectors of such weights."""
        if not self.mlp:
            return weights["weights.0"].mT[..., : self.values, : self.features].flatten(-2)
        inner = weights["model.weights.0"].mT[..., : self.features]
        outer = weights["model.weights.1"].mT[..., : self.values, :]
        return torch.cat([outer.flatten(-2), inner.flatten(-2)], dim=-1)

    def sequence(self, x: Tensors) -> Tensor:
        """Return what the replaced projections read [heads, time, 3 width + 3] of one row."""
        keys, values, queries = (
            pad(x[name], (0, self.width - x[name].shape[-1])) for name in ("keys", "values", "queries")
        )
        if self.mlp:
            # The memory passes its input on; a value that is the key where there is none leaves no error there.
            values = torch.cat([values[..., : self.values], keys[..., self.values :]], dim=-1)
        step = x["step_size"] * x["window_weights"][..., 0]
        gates = torch.stack([step, x["momentum_decay"].logit(), (1.0 - x["retention"]).logit()], dim=-1)
        return torch.cat([keys, values, queries, gates], dim=-1).transpose(0, 1)


class Row:
    """The memory of one row, all heads: the package's state, and the anchor as the specification counts it."""

    def __init__(self, package: Package, memory: Any, packing: Packing, x: Tensors) -> None:
        self.package, self.memory, self.packing = package, memory, packing
        self.initial = packing.weights(x["initial"])
        self.weights, self.momentum, self.anchor = (packing.weights(x[name]) for name in _CARRIED)
        self.position = int(x["position"])

    def begin(self) -> None:
        """Begin a document: a new state of the package is its initial weights and no momentum."""
        self.weights, self.anchor, self.position = self.initial, self.initial, 0
        self.momentum = {name: torch.zeros_like(value) for name, value in self.initial.items()}

    def take(self, sequence: Tensor) -> Tensor:
        """Store and retrieve [heads, time, ...], the tokens of one document, in one call of the package."""
        if self.position == 0:
            self.begin()
        first, chunk = self.position, int(self.memory.batch_size)
        # The package takes weights over when a chunk ends, the specification when the next one begins.
        anchor = self.weights if first % chunk == 0 else self.anchor
        momentum = {name: value.unsqueeze(0) for name, value in self.momentum.items()}
        carried = self.package.state(first, anchor, None, (self.weights, momentum), None)
        reads, state = self.memory(sequence, state=carried)
        last_weights, last_momentum = state.states
        self.position = state.seq_index
        start = (self.position - 1) // chunk * chunk - first
        self.anchor = anchor if start < 0 else {name: value[:, start] for name, value in state.updates.items()}
        self.weights = dict(last_weights.items())
        self.momentum = {name: value[0] for name, value in last_momentum.items()}
        retrieved: Tensor = reads
        return retrieved

    def take_all(self, sequence: Tensor, reset: Tensor, *, one_by_one: bool) -> Tensor:
        """Take the tokens of a call: a document a call of the package, or a token a call."""
        marked = reset.nonzero().flatten().tolist()
        starts = range(len(reset)) if one_by_one else sorted({0, *marked})
        reads = []
        for start, end in zip(starts, [*starts[1:], len(reset)], strict=True):
            if start in marked:
                self.begin()
            reads.append(self.take(sequence[:, start:end]))
        return torch.cat(reads, dim=1)

    def outputs(self) -> Tensors:
        """Return the carried vectors."""
        carried = (self.weights, self.momentum, self.anchor)
        return {name: self.packing.packed(weights) for name, weights in zip(_CARRIED, carried, strict=True)}


def remember(package: Package, config: Config, x: Tensors, *, one_by_one: bool) -> Tensors:
    """Return what a call of the memory gives, row by row, a document or a token a call of the package."""
    batch, time, _, features = x["keys"].shape
    values = x["values"].shape[-1]
    unchanged = {name: x[name] for name in ("window_keys", "window_values")}
    if time == 0:
        carried = {name: x[name] for name in (*_CARRIED, "position")}
        return {"reads": x["values"], **unchanged, **carried}
    packing = Packing(config, features, values, x["initial"].shape[-1])
    memory = package.make(config, packing.width, packing.hidden)
    rows = []
    for i in range(batch):
        here = {name: value if name == "initial" else value[i] for name, value in x.items()}
        row = Row(package, memory, packing, here)
        reads = row.take_all(packing.sequence(here), here["reset"], one_by_one=one_by_one)
        reads = reads[..., :values].transpose(0, 1)
        rows.append({"reads": reads, "position": torch.tensor(row.position), **row.outputs()})
    return unchanged | {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


_CARRIED: Final = ("weights", "momentum", "anchor")
