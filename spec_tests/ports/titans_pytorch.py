"""`titans-pytorch` (PyPI, the `bench` extra) as a port: its own Newton-Schulz and its own `NeuralMemory`, unchanged.

`NeuralMemory` projects one sequence to keys, values, queries and gates. Here the sequence carries them and the
projections, which are attributes of the module, pick them out; losses, gradients, scans and reads are the package's.

What is said in its terms
    retention alpha      1 - decay; decay and momentum are sigmoids in the package, so they enter as logits
    step size eta        the weight of a token's loss, as is; the window's only weight multiplies it
    chunk b              `batch_size` = b (the interval at which weights are taken over) with `chunk_size` = 1
    loss                 `store_memory_loss_fn` = loss_scale ||M(k) - v||^2 in place of its default, the mean
    a document           a new state; each row is run by itself, because rows differ in phase
    keys, values         padded with zeros to one width, which the package demands of its memories

Not in the package, so answered as unsupported: a window of more than one token, the rules `omega`, `delta` and `atlas`,
`mass`, reads before the write, coefficient sets that change from step to step. docs/porting-titans-pytorch.md tells
what the suite finds.
"""

from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from typing import Any, Final
from warnings import catch_warnings, filterwarnings

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from spec_tests.contract.schema import Operation
from spec_tests.operations import OPERATIONS
from spec_tests.port import GRADIENTS, SPEC_VERSION, Array, Declaration, Numerics, Op, Scalar, UnsupportedError

with catch_warnings():
    # Its dependency assoc-scan uses torch.jit.script.
    filterwarnings("ignore", "`torch.jit.script", DeprecationWarning)
    from titans_pytorch import MemoryMLP, NeuralMemory, NeuralMemState
    from titans_pytorch.neural_memory import newtonschulz5

Tensors = dict[str, Tensor]
Config = Mapping[str, Any]
Weights = dict[str, Tensor]

COEFFICIENTS: Final = {"quintic": (3.4445, -4.7750, 2.0315), "cubic": (1.5, -0.5, 0.0)}
"""The sets that are one triple for all steps, which is what `newtonschulz5` takes."""


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


def _newton_schulz(config: Config, x: Tensors) -> Tensors:
    if config["coefficients"] not in COEFFICIENTS:
        raise UnsupportedError("one triple of coefficients for all steps", capability=str(config["coefficients"]))
    # With three axes or fewer it returns its input.
    matrix = x["matrix"].unsqueeze(0)
    return {"orthogonal": newtonschulz5(matrix, config["steps"], coefs=COEFFICIENTS[config["coefficients"]])[0]}


def _demand(holds: bool, reason: str, capability: str) -> None:
    if not holds:
        raise UnsupportedError(reason, capability=capability)


def _demand_supported(config: Config, window: int) -> None:
    """Raise UnsupportedError for what the package does not have."""
    rule = config["rule"]
    _demand(rule in ("titans", "atlas_appendix"), f"there is no rule '{rule}'", f"rule {rule}")
    _demand(window == 1, "a write looks at one token", "window")
    _demand(config["read"] == "post", "reads come after the write", "read pre")
    _demand(config["step_scale"] == "literal", "steps are not normalised by mass", "step_scale mass")
    if rule == "atlas_appendix":
        five = (config["coefficients"], config["newton_schulz_steps"]) == ("quintic", 5)
        _demand(five, "surprises pass through five quintic steps", "coefficients")


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


def _memory(config: Config, x: Tensors, *, one_by_one: bool) -> Tensors:
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


def _memory_step(config: Config, x: Tensors) -> Tensors:
    tokens = {name: x[name].unsqueeze(1) for name in _TOKENS}
    outputs = _memory(config, x | tokens, one_by_one=True)
    return outputs | {"reads": outputs["reads"].squeeze(1)}


_CARRIED: Final = ("weights", "momentum", "anchor")
_TOKENS: Final = ("keys", "values", "queries", "retention", "momentum_decay", "step_size", "window_weights", "reset")
_PARALLEL: Final = partial(_memory, one_by_one=False)
FUNCTIONS: Final[Mapping[Op, Callable[[Config, Tensors], Tensors]]] = {
    Op.NEWTON_SCHULZ: _newton_schulz,
    Op.MEMORY_STEP: _memory_step,
    Op.MEMORY_SCAN: partial(_memory, one_by_one=True),
    Op.MEMORY_CHUNKED: _PARALLEL,
    Op.MEMORY_GRAD: _PARALLEL,
}


class TitansPytorchPort:
    """The package behind the port contract: in float64 and float32, with gradients by autograd."""

    def declare(self) -> Declaration:
        """Declare what the package has code for."""
        return Declaration(
            name="titans-pytorch",
            version=version("titans-pytorch"),
            language="python (torch)",
            spec_version=SPEC_VERSION,
            operations=frozenset(FUNCTIONS),
            capabilities=frozenset({GRADIENTS}),
            numerics=(Numerics.F64, Numerics.F32),
            matmul_precision="full",
            # `atlas_appendix` is there with five quintic steps alone, which no key says by itself.
            only={
                "rule": frozenset({"titans"}),
                "read": frozenset({"post"}),
                "step_scale": frozenset({"literal"}),
                "coefficients": frozenset(COEFFICIENTS),
            },
            longest={"window": 1},
        )

    def run(
        self,
        op: str,
        config: Mapping[str, Scalar],
        inputs: Mapping[str, Array],
        *,
        numerics: Numerics,
        taps: frozenset[str],
    ) -> Mapping[str, Array]:
        """Run one operation; with cotangents among the inputs, return the derivatives too."""
        del numerics, taps  # Arrays come in the type of the profile; the package shows no intermediate values.
        if op not in FUNCTIONS:
            raise UnsupportedError(f"titans-pytorch has no operation '{op}'", capability=op)
        row = OPERATIONS[Op(op)]
        tensors = {tensor.name: torch.tensor(inputs[tensor.name]) for tensor in row.inputs}
        cotangents = {tensor.name: inputs.get(f"cotangent.{tensor.name}") for tensor in row.outputs}
        asked = {name: torch.tensor(value) for name, value in cotangents.items() if value is not None}
        function = partial(FUNCTIONS[row.op], config)
        outputs = _with_gradients(row, function, tensors, asked) if asked else function(tensors)
        return {name: value.detach().numpy() for name, value in outputs.items()}


def _with_gradients(
    row: Operation, function: Callable[[Tensors], Tensors], inputs: Tensors, cotangents: Tensors
) -> Tensors:
    leaves = {tensor.name: inputs[tensor.name].requires_grad_() for tensor in row.inputs if tensor.role != "index"}
    outputs = function(inputs)
    loss = torch.stack([(outputs[name] * cotangent).sum() for name, cotangent in cotangents.items()]).sum()
    gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
    return outputs | {f"grad.{name}": gradient for name, gradient in zip(leaves, gradients, strict=True)}
