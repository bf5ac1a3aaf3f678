"""The package's `NeuralMemory` under the specification's names: projections replaced, state packed and unpacked."""

from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from spec_tests.ports.titans_pytorch.package import MemoryMLP, NeuralMemory, NeuralMemState
from spec_tests.ports.titans_pytorch.tensors import Config, Tensors, Weights, demand


class Pick(nn.Module):
    """In place of a projection: some of the entries of the sequence, brought into a shape."""

    def __init__(self, entries: slice, shape: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.entries, self.shape = entries, shape

    def forward(self, sequence: Tensor) -> Tensor:
        return self.shape(sequence[..., self.entries])


class Residual(nn.Module):
    """The memory `mlp`: x plus the package's own two-layer `MemoryMLP`, which has no norm."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = self.model(x)
        return x + inner


def _demand_supported(config: Config, window: int) -> None:
    """Raise UnsupportedError for what the package does not have."""
    rule = config["rule"]
    demand(rule in ("titans", "atlas_appendix"), f"there is no rule '{rule}'", f"rule {rule}")
    demand(window == 1, "a write looks at one token", "window")
    demand(config["read"] == "post", "reads come after the write", "read pre")
    demand(config["step_scale"] == "literal", "steps are not normalised by mass", "step_scale mass")
    if rule == "atlas_appendix":
        five = (config["coefficients"], config["newton_schulz_steps"]) == ("quintic", 5)
        demand(five, "surprises pass through five quintic steps", "coefficients")


def neural_memory(config: Config, width: int, hidden: int) -> NeuralMemory:
    """Return the package's memory for a rule, its projections replaced; the sequence is k, v, q, eta, two logits."""
    mlp = config["architecture"] == "mlp"
    model = Residual(MemoryMLP(width, depth=2, expansion_factor=(hidden + 0.5) / width)) if mlp else MemoryMLP(width, 1)
    memory = NeuralMemory(
        width,
        chunk_size=1,
        batch_size=config["chunk"],
        model=model,
        store_memory_loss_fn=lambda read, value: config["loss_scale"] * (read - value).pow(2).sum(-1),
        adaptive_step_transform=lambda step: step,
        spectral_norm_surprises=config["rule"] == "atlas_appendix",
        pre_rmsnorm=False,
        mem_model_norm_add_residual=False,
    )
    memory.to_keys, memory.to_values, memory.to_queries = (
        Pick(slice(i * width, (i + 1) * width), lambda part: part) for i in range(3)
    )
    step, momentum, decay = (slice(i, i + 1) for i in range(3 * width, 3 * width + 3))
    memory.to_adaptive_step = Pick(step, lambda part: part.squeeze(-1))
    memory.to_momentum = Pick(momentum, lambda part: part.unsqueeze(0))
    memory.to_decay_factor = Pick(decay, lambda part: part)
    return memory


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

    def __init__(self, memory: NeuralMemory, packing: Packing, x: Tensors) -> None:
        self.memory, self.packing, self.initial = memory, packing, packing.weights(x["initial"])
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
        reads, state = self.memory(sequence, state=NeuralMemState(first, anchor, None, (self.weights, momentum), None))
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


def remember(config: Config, x: Tensors, *, one_by_one: bool) -> Tensors:
    _demand_supported(config, x["window_weights"].shape[-1])
    batch, time, _, features = x["keys"].shape
    values = x["values"].shape[-1]
    unchanged = {name: x[name] for name in ("window_keys", "window_values")}
    if time == 0:
        carried = {name: x[name] for name in (*_CARRIED, "position")}
        return {"reads": x["values"], **unchanged, **carried}
    packing = Packing(config, features, values, x["initial"].shape[-1])
    memory = neural_memory(config, packing.width, packing.hidden)
    rows = []
    for i in range(batch):
        here = {name: value if name == "initial" else value[i] for name, value in x.items()}
        row = Row(memory, packing, here)
        reads = row.take_all(packing.sequence(here), here["reset"], one_by_one=one_by_one)
        reads = reads[..., :values].transpose(0, 1)
        rows.append({"reads": reads, "position": torch.tensor(row.position), **row.outputs()})
    return unchanged | {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


_CARRIED: Final = ("weights", "momentum", "anchor")
