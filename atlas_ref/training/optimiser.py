"""Outer optimisers: which parameter goes to which, and their state as named tensors.

Hidden matrices (the weights of the linear layers inside the blocks) may go to Muon; embeddings, the head, gate heads,
convolutions, initial memories and every vector go to AdamW (decision `muon`). Both are those of `torch.optim`
(`training.eager`), but for the Muon of MuGrokfast, which is one of its parts (`training.mugrokfast`). Parts act one
after another.
Parameters stay in fp32 whatever the precision of the forward pass, so a small step is never rounded away.
Deliberately different from `Optimizer.state_dict`: the state is keyed by parameter *name*, not by index, and is plain
tensors, so that it can be stored without pickle and a checkpoint of another model is recognised.
"""

from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from atlas_ref.blocks.memory_branch import MemoryBranch
from atlas_ref.config import OptimConfig
from atlas_ref.config.optim import MuGrokfastConfig
from atlas_ref.errors import UserError
from atlas_ref.processes.distributed import World
from atlas_ref.processes.parallel import is_shard
from atlas_ref.training.eager import EagerAdamW, EagerMuon
from atlas_ref.training.mugrokfast import Clippable, ClippedHeads, ExactMuon, SlowGradients, WeightAverage
from atlas_ref.training.stacked_muon import StackedMuon

TRANSFORMED = frozenset({"log_gain", "ridge"})
"""Names of what is stored as a logarithm or before a softplus; with an axis for heads it is no matrix for that."""
MATRICES = frozenset({"muon", "mugrokfast"})
"""Names under which hidden matrices go to Muon."""
STATE_KEYS: dict[str, tuple[str, ...]] = {
    "slow": ("average",),
    "adamw": ("step", "exp_avg", "exp_avg_sq"),
    "muon": ("momentum_buffer",),
    "average": ("weights",),
}


def hidden_matrices(model: nn.Module) -> set[str]:
    """Return the names of the parameters that Muon is meant for: weights of linear layers, but of gates and heads."""
    linear = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    return {f"{name}.weight" for name in linear if "gate" not in name and "head" not in name}


def of_memories(model: nn.Module) -> set[str]:
    """Return the names of the parameters of test-time memories, their projections, gates and starts included."""
    branches = [module for module in model.modules() if isinstance(module, MemoryBranch)]
    theirs = {parameter for branch in branches for parameter in branch.parameters()}
    return {name for name, parameter in model.named_parameters() if parameter in theirs}


@dataclass(frozen=True)
class OuterOptimiser:
    """Torch optimisers that act one after another; those with a rate own every trainable parameter once, together.

    `peaks` has the rates of those that have one, `names` the parameters of those that have a state.
    """

    parts: dict[str, Optimizer]
    names: dict[str, dict[str, nn.Parameter]]
    peaks: dict[str, float]

    def step(self, factor: float) -> None:
        """Update every parameter that has a gradient, at `factor` times the peak learning rate of its optimiser."""
        self.set_rates(factor)
        self.move()

    def set_rates(self, factor: float) -> None:
        """Let every optimiser move at `factor` times its peak learning rate.

        A group of parameters with a `multiple` has so many times that rate.
        """
        for part, optimiser in self.parts.items():
            for group in optimiser.param_groups if part in self.peaks else ():
                rate = self.peaks[part] * group.get("multiple", 1.0) * factor
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate

    def move(self) -> None:
        """Update every parameter that has a gradient, at the rates that are set."""
        for optimiser in self.parts.values():
            optimiser.step()

    @property
    def reads_rates(self) -> bool:
        """Whether every part has its rates in tensors, and so makes of the same gradients the same launches."""
        groups = [group for part in self.parts.values() for group in part.param_groups if group["params"]]
        return all(isinstance(group.get("lr"), Tensor) for group in groups)

    def agree(self, world: World) -> None:
        """Take in what the other processes saw of this step beside its gradients, which they share already."""
        if isinstance(clipped := self.parts.get("clipped"), ClippedHeads):
            clipped.agree(world)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for optimiser in self.parts.values():
            optimiser.zero_grad(set_to_none=True)

    @property
    def logits(self) -> dict[Tensor, Tensor]:
        """The largest logits of attention heads since `zero_grad`, by their projection; none where none is clipped."""
        return clipped.largest if isinstance(clipped := self.parts.get("clipped"), ClippedHeads) else {}

    def averaged(self) -> AbstractContextManager[None]:
        """Return the context in which parameters are their averages, where averages are kept; else they stay."""
        part = self.parts.get("average")
        return part.in_place() if isinstance(part, WeightAverage) else nullcontext()

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the state of the parameters updated so far, under names such as `adamw.exp_avg.embedding.weight`."""
        return {
            f"{part}.{key}.{name}": self.parts[part].state[parameter][key]
            for part, name, parameter in self._parameters()
            if parameter in self.parts[part].state
            for key in STATE_KEYS[part]
        }

    def like(self) -> dict[str, Tensor]:
        """Return, for each moment that `to_tensors` may name, a tensor that is laid out as it is: its parameter."""
        return {
            f"{part}.{key}.{name}": parameter
            for part, name, parameter in self._parameters()
            for key in STATE_KEYS[part]
            if key != "step"
        }

    def keeps(self) -> set[str]:
        """Return every name that `to_tensors` may have."""
        return {f"{part}.{key}.{name}" for part, name, _ in self._parameters() for key in STATE_KEYS[part]}

    def from_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Replace the state by `tensors`; raise UserError at a name or shape that does not belong to this model."""
        left = dict(tensors)
        for part, name, parameter in self._parameters():
            found = {key: left.pop(full, None) for key in STATE_KEYS[part] if (full := f"{part}.{key}.{name}")}
            if all(value is None for value in found.values()):
                continue
            counter = parameter.device if self.parts[part].defaults.get("fused") else torch.device("cpu")
            self.parts[part].state[parameter] = {
                key: _fitted(value, f"{part}.{key}.{name}", key, parameter, counter) for key, value in found.items()
            }
        if left:
            raise UserError(f"optimiser tensor '{min(left)}' belongs to no parameter of this model.")

    def _parameters(self) -> Iterator[tuple[str, str, nn.Parameter]]:
        for part, named in self.names.items():
            for name, parameter in named.items():
                yield part, name, parameter


def _fitted(value: Tensor | None, name: str, key: str, parameter: Tensor, counter: torch.device) -> Tensor:
    """Return a stored tensor where the optimiser keeps it; raise UserError when its shape or dtype is another."""
    shape, dtype = (torch.Size(), torch.float32) if key == "step" else (parameter.shape, parameter.dtype)
    if value is None or value.shape != shape or value.dtype != dtype:
        what = "missing" if value is None else f"{value.dtype} {list(value.shape)}"
        raise UserError(f"optimiser tensor '{name}' is {what}, expected {dtype} {list(shape)}.")
    # AdamW keeps its step counter on the CPU, but for its fused form, and the moments beside the parameter.
    return value.to(counter if key == "step" else parameter.device, copy=True)


def build_optimiser(model: nn.Module, config: OptimConfig) -> OuterOptimiser:
    """Return the optimiser that the config names for every trainable parameter of `model`."""
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    optimiser = optimiser_of(named, hidden_matrices(model), config, of_memories(model))
    if config.filters:
        optimiser = _with_filters(optimiser, model, named, config.mugrokfast)
    return with_average(optimiser, named, config.average)


def _with_filters(
    optimiser: OuterOptimiser, model: nn.Module, named: Mapping[str, nn.Parameter], config: MuGrokfastConfig
) -> OuterOptimiser:
    """Return an optimiser with the parts of MuGrokfast, which watches the attention heads of a model."""
    # A bias in the projection stays as it is, so a head that has one could not be clipped to a bound.
    layers = {
        f"{name}.projection.weight": x
        for name, x in model.named_modules()
        if isinstance(x, Clippable) and x.projection.bias is None
    }
    heads = {name: layer.n_heads for name, layer in layers.items()}
    optimiser = with_mugrokfast(optimiser, named, heads, config)
    if isinstance(clipped := optimiser.parts.get("clipped"), ClippedHeads):
        for layer in layers.values():
            clipped.watch(layer)
    return optimiser


def with_mugrokfast(
    optimiser: OuterOptimiser, named: Mapping[str, nn.Parameter], heads: Mapping[str, int], config: MuGrokfastConfig
) -> OuterOptimiser:
    """Return an optimiser with the filter and the clip of MuGrokfast before and behind it (`training.mugrokfast`).

    `heads` are the numbers of heads of the attention projections among the parameters by name.
    """
    slow = SlowGradients(named.values(), config.alpha, config.strength, perp=config.perp_grad)
    parts: dict[str, Optimizer] = {"slow": slow, **optimiser.parts}
    if config.qk_clip and heads:
        parts["clipped"] = ClippedHeads({named[name]: count for name, count in heads.items()}, config.qk_clip)
    return OuterOptimiser(parts, {"slow": dict(named), **optimiser.names}, optimiser.peaks)


def with_average(optimiser: OuterOptimiser, named: Mapping[str, nn.Parameter], decay: float) -> OuterOptimiser:
    """Return an optimiser that keeps an average of the weights behind all else; itself at a decay of zero."""
    if not decay:
        return optimiser
    parts = {**optimiser.parts, "average": WeightAverage(named.values(), decay)}
    return OuterOptimiser(parts, {**optimiser.names, "average": dict(named)}, optimiser.peaks)


def is_decayed(name: str, parameter: Tensor) -> bool:
    """Return whether weight decay acts on a parameter: on tensors of two or more axes that are not `TRANSFORMED`.

    A gain is stored as its logarithm, so decay would pull it to 1 and make that look like the best gain (findings.md),
    and a regulariser of `ridge` to 1/4 + log 2. Of an M_0 decay asks for a memory that starts small, as of a weight.
    """
    return parameter.ndim >= 2 and name.rpartition(".")[2] not in TRANSFORMED


def optimiser_of(
    named: Mapping[str, nn.Parameter], hidden: Set[str], config: OptimConfig, remembering: Set[str] = frozenset()
) -> OuterOptimiser:
    """Return the optimiser that the config names for parameters by name.

    `hidden` are the names of hidden matrices, `remembering` those of what has a rate of its own (`of_memories`).
    """
    muon = {name: p for name, p in named.items() if config.name in MATRICES and name in hidden}
    adamw = {name: p for name, p in named.items() if name not in muon}
    groups = [
        {**group, "params": [p for name, p in chosen if is_decayed(name, p) is decayed], "weight_decay": decay}
        for group, chosen in _by_rate(adamw, remembering, config.memory_rate)
        for decayed, decay in ((True, config.weight_decay), (False, 0.0))
    ]
    parts: dict[str, Optimizer] = {}
    # Muon first: a GPU is busy with it for as long as the host prepares AdamW, which owns other parameters.
    if muon:
        kind = _muon_of(muon.values()) if config.name == "muon" else ExactMuon
        matrices: list[Any] = [
            {**group, "params": [p for _, p in chosen]}
            for group, chosen in _by_rate(muon, remembering, config.memory_rate)
        ]
        parts["muon"] = kind(
            matrices,
            lr=config.muon_learning_rate,
            weight_decay=config.weight_decay,
            momentum=config.muon_momentum,
        )
    if adamw:
        betas = (config.beta1, config.beta2)
        # One kernel for all parameters, where there is one.
        how = {"fused": True, "capturable": True} if on_gpu(adamw.values()) else {}
        parts["adamw"] = EagerAdamW(groups, lr=config.learning_rate, betas=betas, eps=config.eps, **how)
    for part in parts.values():
        whole = not any(map(is_shard, adamw.values()))
        if isinstance(part, StackedMuon) or (part.defaults.get("fused") and whole):
            with_rates_in_tensors(part)
    return OuterOptimiser(
        parts=parts,
        names={part: names for part, names in (("adamw", adamw), ("muon", muon)) if names},
        peaks={"adamw": config.learning_rate, "muon": config.muon_learning_rate},
    )


def on_gpu(tensors: Iterable[Tensor]) -> bool:
    """Return whether all of some tensors are on a GPU."""
    return all(x.device.type == "cuda" for x in tensors)


def with_rates_in_tensors(part: Optimizer) -> None:
    """Keep the rates of an optimiser beside its parameters, as float32: those of a recorded move are read anew.

    A group without parameters, such as that of all that decays where nothing does, moves nothing and keeps a number.
    """
    for group in part.param_groups:
        if group["params"]:
            group["lr"] = torch.tensor(group["lr"], dtype=torch.float32, device=group["params"][0].device)


def _muon_of(matrices: Iterable[Tensor]) -> type[EagerMuon]:
    """Return the form of Muon for some matrices: on a GPU side by side, unless they are held in shards."""
    together = list(matrices)
    return StackedMuon if on_gpu(together) and not any(map(is_shard, together)) else EagerMuon


def _by_rate(
    named: Mapping[str, nn.Parameter], remembering: Set[str], multiple: float
) -> list[tuple[dict[str, float], list[tuple[str, nn.Parameter]]]]:
    """Return parameters by name in groups of one rate: all, or where memories have another rate, theirs apart."""
    if multiple == 1.0:
        return [({}, list(named.items()))]
    theirs = [(name, p) for name, p in named.items() if name in remembering]
    others = [(name, p) for name, p in named.items() if name not in remembering]
    groups = (({"multiple": 1.0}, others), ({"multiple": multiple}, theirs))
    return [(group, chosen) for group, chosen in groups if chosen]
