"""The optimisers of training, with what an operation says that they remember; `mugrokfast_step` is their step."""

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn

from atlas_ref.config.optim import MuGrokfastConfig, OptimConfig
from atlas_ref.processes.distributed import ALONE
from atlas_ref.processes.parallel import drop_zero_gradients
from atlas_ref.training.clipping import clip_gradients
from atlas_ref.training.mugrokfast import ClippedHeads
from atlas_ref.training.optimiser import OuterOptimiser, optimiser_of, with_average, with_mugrokfast
from spec_tests.port import Op
from spec_tests.ports.reference.tensors import Config, Function, Tensors

PARTS: Final[Mapping[str, tuple[str, str]]] = {
    "slow": ("slow", "average"),
    "mean": ("adamw", "exp_avg"),
    "square": ("adamw", "exp_avg_sq"),
    "buffer": ("muon", "momentum_buffer"),
    "average": ("average", "weights"),
}
"""Which part of the optimiser keeps what, and under which key."""


def optim_config(config: Config, name: str) -> OptimConfig:
    """Return a section of a configuration with the values of an operation, which may be beyond what users may set."""
    ours = MuGrokfastConfig.model_construct(
        alpha=config["alpha"],
        strength=config["strength"],
        perp_grad=config.get("perp_grad", False),
        qk_clip=config["qk_clip"],
    )
    return OptimConfig.model_construct(
        name=name,
        learning_rate=config["learning_rate"],
        min_learning_rate=config.get("min_ratio", 1.0) * config["learning_rate"],
        muon_learning_rate=config["muon_learning_rate"],
        muon_momentum=config["momentum"],
        beta1=config["beta1"],
        beta2=config["beta2"],
        eps=config["eps"],
        weight_decay=config["weight_decay"],
        warmup_steps=config.get("warmup_steps", 0),
        schedule="cosine",
        max_norm=config["clip"] or float("inf"),
        average=config.get("average", 0.0),
        memory_rate=1.0,
        polarisation_start=0.0,
        polarisation_end=0.0,
        mugrokfast=ours,
    )


def remember(optimiser: OuterOptimiser, parameter: Tensor, updates: int, found: Tensors) -> None:
    """Put what an operation says of one parameter into the parts that keep it; `found` has it by the names of PARTS."""
    for what, value in found.items():
        part, key = PARTS[what]
        held = optimiser.parts.get(part)
        if held is None or not any(p is parameter for group in held.param_groups for p in group["params"]):
            continue
        if what == "slow" and updates == 0:
            continue
        held.state[parameter][key] = value.clone()
        if part == "adamw":
            held.state[parameter]["step"] = torch.tensor(float(updates))


def recalled(optimiser: OuterOptimiser, parameter: Tensor, what: str, before: Tensor) -> Tensor:
    """Return what the optimiser keeps of a parameter now, or what it was before where nothing keeps it."""
    part, key = PARTS[what]
    held = optimiser.parts.get(part)
    kept: Tensor = held.state[parameter].get(key, before) if held and parameter in held.state else before
    return kept


def _mugrokfast_step(config: Config, x: Tensors) -> Tensors:
    named = {name: nn.Parameter(x[name].clone()) for name in ("projection", "vector")}
    optim = optim_config(config, "mugrokfast")
    plain = optimiser_of(named, {"projection"}, optim)
    filtering = with_mugrokfast(plain, named, {"projection": len(x["maximum"])}, optim.mugrokfast)
    optimiser = with_average(filtering, named, optim.average)
    own = {"projection": ("buffer",), "vector": ("mean", "square")}
    for number, (name, parameter) in enumerate(named.items()):
        kept = {"slow": x[f"{name}_slow"], "average": x[f"{name}_average"], **{key: x[key] for key in own[name]}}
        remember(optimiser, parameter, int(x["updates"][number]), kept)
        parameter.grad = x[f"{name}_gradient"].clone()
    clipped = optimiser.parts.get("clipped")
    if isinstance(clipped, ClippedHeads):
        clipped.note(named["projection"], x["maximum"])
    drop_zero_gradients(named.values(), ALONE)
    used = torch.tensor([int(parameter.grad is not None) for parameter in named.values()])
    if used.any():
        clip_gradients(named, optim.max_norm, 0, ALONE)
    optimiser.step(config["factor"])
    after: Tensors = {"updates": x["updates"] + used}
    for name, parameter in named.items():
        after[name] = parameter.detach()
        for what in ("slow", "average"):
            after[f"{name}_{what}"] = recalled(optimiser, parameter, what, x[f"{name}_{what}"])
        after |= {key: recalled(optimiser, parameter, key, x[key]) for key in own[name]}
    return after


FUNCTIONS: Final[Mapping[Op, Function]] = {Op.MUGROKFAST_STEP: _mugrokfast_step}
