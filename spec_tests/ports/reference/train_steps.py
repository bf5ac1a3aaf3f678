"""Steps of training, by the reference: its own model, step and optimisers on the parameters that come in."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from atlas_ref.config import RunConfig, load_config
from atlas_ref.data.batch import IGNORED, Batch
from atlas_ref.models.atlas import AtlasModel, ModelState
from atlas_ref.training.optimiser import OuterOptimiser, build_optimiser, is_decayed
from atlas_ref.training.step import StepResult, train_step
from spec_tests.contract.operations import OPERATIONS
from spec_tests.port import Op
from spec_tests.ports.reference.blocks import MODEL, NAMES, layer_state, model_config, state_tensors
from spec_tests.ports.reference.lm import FEED_NAMES, LAYERS
from spec_tests.ports.reference.outer import optim_config, recalled, remember
from spec_tests.ports.reference.tensors import Config, Function, Tensors

HIDDEN: Final = ("attention_projection", "memory_projection", "output", "feed_up", "feed_down")
OURS: Final = {
    **{name: f"mag.{theirs}" for name, theirs in NAMES.items()},
    **{name: f"feed_forward.{theirs}" for name, theirs in FEED_NAMES.items()},
    "log_gain": "mag.memory.log_gain",
    "initial": "mag.memory.initial.0",
    "coefficients": "mag.memory.feature_coefficients",
}


def ours(name: str) -> str:
    """Return what a parameter is called in the model."""
    layer, _, last = name.rpartition(".")
    return f"layers.{layer}.{OURS[last]}" if layer else {"embedding": "embedding.weight"}.get(name, "norm.weight")


def model_of(config: RunConfig, x: Tensors) -> tuple[AtlasModel, dict[str, nn.Parameter]]:
    """Return a model of the parameters that came in, and these by their names in the table."""
    model = AtlasModel(config.model, seed=0).to(x["embedding"].dtype)
    held = dict(model.named_parameters())
    wanted = [tensor.name for tensor in OPERATIONS[Op.TRAIN_STEPS].inputs if tensor.role == "parameter"]
    named = {name: held[ours(name)] for name in wanted}
    with torch.no_grad():
        for name, parameter in named.items():
            if name.endswith("coefficients"):
                # Kept through softplus, and constants here.
                parameter.copy_(torch.log(torch.expm1(x[name]))).requires_grad_(False)
            else:
                parameter.copy_(x[name].reshape(parameter.shape))
    return model, named


def hidden_of(named: Mapping[str, nn.Parameter]) -> set[str]:
    """Return the names in the table of the matrices that go to Muon."""
    return {name for name in named if name.rpartition(".")[2] in HIDDEN and "." in name}


def run_config(config: Config, x: Tensors) -> RunConfig:
    """Return the configuration of a run; only its model is one that a user could write."""
    tiny = load_config("tiny")
    layer = {name[2:]: value for name, value in x.items() if name.startswith(LAYERS[0])}
    sizes = x["embedding"].shape[0], layer["feed_down"].shape[1]
    model = model_config({**MODEL, "inner_grad": config["inner_grad"]}, layer, *sizes)
    total = {"max_steps": config["total_steps"], "micro_batches": 1, "precision": "fp32"}
    train = tiny.train.model_copy(update=total)
    return tiny.model_copy(update={"model": model, "optim": optim_config(config, _trained_by(config)), "train": train})


def _trained_by(config: Config) -> str:
    """Return the name of the optimiser in a configuration; that of training under `muon` computes in bfloat16."""
    return "adamw" if config["optimizer"] in ("sgd", "adamw") else "mugrokfast"


def _optimiser(config: Config, run: RunConfig, model: AtlasModel) -> OuterOptimiser:
    """Return the optimiser of training; Muon alone is MuGrokfast without its filter and its clip."""
    if config["optimizer"] == "sgd":
        return _descent(config, model)
    found = build_optimiser(model, run.optim)
    if config["optimizer"] == "muon":
        plain = {part: optimiser for part, optimiser in found.parts.items() if part in ("adamw", "muon")}
        return OuterOptimiser(plain, {part: found.names[part] for part in plain}, found.peaks)
    return found


def _descent(config: Config, model: AtlasModel) -> OuterOptimiser:
    """Return torch's descent by the gradient, whose decay is that of W (1 - lr wd)."""
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    groups: list[dict[str, Any]] = [
        {"params": [p for name, p in named.items() if is_decayed(name, p) is decayed], "weight_decay": decay}
        for decayed, decay in ((True, config["weight_decay"]), (False, 0.0))
    ]
    rate = config["learning_rate"]
    return OuterOptimiser({"sgd": torch.optim.SGD(groups, lr=rate)}, {}, {"sgd": rate})


def batch_of(tokens: Tensor, reset: Tensor) -> Batch:
    """Return a batch whose targets are the next tokens, those that begin a document left out."""
    begins = reset[:, 1:] != 0
    return Batch(tokens[:, :-1], torch.where(begins, IGNORED, tokens[:, 1:]), reset[:, :-1] != 0)


def _pieces(numbers: Tensor, named: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    parts = zip(named, torch.split(numbers, [parameter.numel() for parameter in named.values()]), strict=True)
    return {name: part.reshape(named[name].shape) for name, part in parts}


def _keys(optimiser: OuterOptimiser, parameter: Tensor) -> dict[str, str]:
    """Return what an optimiser keeps of a parameter as `slow`, `mean` and `square`, by the names of `outer.PARTS`."""
    muon = optimiser.parts.get("muon")
    hidden = muon is not None and any(p is parameter for group in muon.param_groups for p in group["params"])
    return {"slow": "slow", "mean": "buffer"} if hidden else {"slow": "slow", "mean": "mean", "square": "square"}


def _train_steps(config: Config, x: Tensors) -> Tensors:
    run = run_config(config, x)
    model, named = model_of(run, x)
    return steps_of(config, x, run, model, named, _optimiser(config, run, model), train_step)


def steps_of(
    config: Config,
    x: Tensors,
    run: RunConfig,
    model: AtlasModel,
    named: Mapping[str, nn.Parameter],
    optimiser: OuterOptimiser,
    step: Callable[..., StepResult],
) -> Tensors:
    """Return what an operation asks for after as many steps as there are batches, each made by `step`."""
    kept = {what: _pieces(x[what], named) for what in ("slow", "mean", "square")}
    updates = x["updates"].clone()
    for number, (name, parameter) in enumerate(named.items()):
        found = {key: kept[what][name] for what, key in _keys(optimiser, parameter).items()}
        remember(optimiser, parameter, int(updates[number]), found)
    layers = [{name[2:]: value for name, value in x.items() if name.startswith(prefix)} for prefix in LAYERS]
    first = state = ModelState(tuple(layer_state({**MODEL, **config}, layer) for layer in layers))
    losses, norms = [], []
    for n, (tokens, reset) in enumerate(zip(x["tokens"], x["reset"], strict=True)):
        begin = state if config["carry_state"] else first
        with torch.enable_grad():
            result = step(model, optimiser, batch_of(tokens, reset), begin, config["step0"] + n, run)
        losses.append(result.loss)
        norms.append(result.grad_norm)
        updates += torch.tensor([int(parameter.grad is not None) for parameter in named.values()])
        state = result.output.state
    return {
        "losses": torch.tensor(losses, dtype=x["embedding"].dtype),
        "grad_norms": torch.tensor(norms, dtype=x["embedding"].dtype),
        "updates": updates,
        **{what: _kept_now(what, before, optimiser, named) for what, before in kept.items()},
        **_states(state),
        "parameters": _joined(x[n] if n.endswith("coefficients") else p.detach() for n, p in named.items()),
    }


def _kept_now(
    what: str, before: Mapping[str, Tensor], optimiser: OuterOptimiser, named: Mapping[str, nn.Parameter]
) -> Tensor:
    """Return what the optimiser keeps of all parameters now; what it does not keep is as it was before."""
    keys = {name: _keys(optimiser, parameter).get(what) for name, parameter in named.items()}
    return _joined(
        before[name] if key is None else recalled(optimiser, named[name], key, before[name])
        for name, key in keys.items()
    )


def _states(state: ModelState) -> Tensors:
    layers = zip(LAYERS, state.layers, strict=True)
    return {f"{prefix}{name}": x for prefix, layer in layers for name, x in state_tensors(layer).items()}


def _joined(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


FUNCTIONS: Final[Mapping[Op, Function]] = {Op.TRAIN_STEPS: _train_steps}
