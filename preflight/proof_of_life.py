"""The gate *Proof of Life*: is every part of the memory awake at the magnitudes that this network really produces?

Real batches of the configured data go through a fresh model. Measured are the tanh gate of the queries (where there is
one), the half-life that the retention gates make, how far apart the features of different keys are, which parameters
get a gradient, and whether the small ones move as their optimiser means them to (`trajectory`).

Deliberately different from the source system, whose gate multiplied queries by up to ten until some output exceeded
0.9: any gain above 1 passed, whatever the network sent through the gate. Nothing is scaled up here.
"""

import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import JsonValue
from torch import Tensor, nn
from torch.nn.functional import normalize

from atlas_ref.blocks.gates import GateHeads
from atlas_ref.blocks.memory_branch import MemoryBranch
from atlas_ref.blocks.memory_layer import TanhGate
from atlas_ref.config import ModelConfig, RunConfig
from atlas_ref.data.batch import Batch
from atlas_ref.memory.rules import Gates
from atlas_ref.models.family import Model
from atlas_ref.training.clipping import NonFiniteError
from atlas_ref.training.run import select_device
from atlas_ref.training.step import forward
from preflight.heard import echo_checks, kept_checks, travel_check
from preflight.observe import mean_loss, measured_config, real_batches, watched
from preflight.reached import gradient_checks, longest_document, mixing_evidence
from preflight.rehearsal import rehearsal_checks
from preflight.result import Check, GateResult, at_least, at_most, conclude
from preflight.span import kept_over, must_remember, span_of
from preflight.statistics import mean_interval
from preflight.subject import Budget, Subject
from preflight.trajectory import drifts
from preflight.travel import travel

GATE = "proof-of-life"

NONLINEAR = 0.5
"""A tanh is used as one above this input: it is 8% below its tangent there, and 3% at 0.3."""
ACTIVE_SHARE = 0.5
"""Least share of tokens and heads of which an entry is in that region: a gate that most never notice is a factor."""
SATURATED = 1.5
"""Above this input the slope of tanh is below 0.18: little gradient passes."""
SATURATED_SHARE = 0.2
"""Largest share of entries there; the source system ended training at this share, so none should start with it."""
LEAST_HALF_LIFE = 8.0
"""Tokens; more is asked where the attention window is longer, as a memory must outlast what attention sees anyway."""
ENDLESS = 1e9
"""Tokens: more than any document has, and a number that can be averaged and written down."""
FEATURE_COSINE = 0.5
"""Largest mean cosine between features of random keys: the share of a write that every other key reads back."""
FEATURE_KEYS = 64
"""Random keys in each sample of that cosine."""
GRADIENT_BATCHES = 4
"""Most batches through which gradients are followed: where they arrive is decided by the model, hardly by the data."""
DRIFT = 0.01
"""Largest distance of a small parameter from its float64 replay, as a share of the path (decision `gain`)."""
DRIFT_STEPS = 8
"""Most steps of that probe: storage that is too coarse loses the first step as it does the last."""


def proof_of_life(config: RunConfig, subject: Subject, seed: int, budget: Budget) -> GateResult:
    """Examine a fresh model of `subject` on real batches (module docstring)."""
    started = time.perf_counter()
    run, config = config, measured_config(config, seed, budget)
    device = select_device(config.train.device)
    model = subject.model(config.model, seed).to(device)
    batches = real_batches(config, budget.batches, device)
    samples = [
        _measure(config, model, batch, gradients=index < GRADIENT_BATCHES) for index, batch in enumerate(batches)
    ]
    longest = max(longest_document(batch) for batch in batches[:GRADIENT_BATCHES])
    half_lives = [sample.half_life for sample in samples]
    heard, echo = echo_checks(config, model, batches)
    rehearsed = rehearsal_checks(run, subject, seed, budget)
    checks = [
        *_tanh_checks(config.model, [sample.tanh for sample in samples]),
        _half_life_check(config.model, half_lives),
        *(rehearsed or (*kept_checks(run, half_lives), *heard, travel_check(run, echo))),
        _feature_check(model, seed, budget.batches),
        *gradient_checks(config.model, model, set().union(*(sample.reached for sample in samples)), longest),
    ]
    drift, shares = _drift_check(config, subject, model, batches, min(budget.probe_steps, DRIFT_STEPS))
    evidence: dict[str, JsonValue] = {
        "tanh_gate": _tanh_evidence(config.model, [sample.tanh for sample in samples]),
        "drift": dict[str, JsonValue](shares),
        "mixing_rate": mixing_evidence(config.model.memory, longest),
        "span": _span_evidence(run, float(np.mean(half_lives))),
        "echo": echo,
        "travel": travel(run),
    }
    return conclude(GATE, [*checks, drift], evidence, time.perf_counter() - started)


def _span_evidence(config: RunConfig, half_life: float) -> JsonValue:
    """Return how far back the answers lie, and what half of the heads keep until there."""
    nearest, farthest = span_of(config)
    return {
        "nearest": nearest,
        "farthest": farthest,
        "kept_to_the_nearest": kept_over(config, half_life, nearest),
        "kept_to_the_farthest": kept_over(config, half_life, farthest),
        "out_of_sight": must_remember(config) is not None,
    }


class _TanhUse(NamedTuple):
    """One layer's tanh gate on one batch: tokens and heads in the non-linear region, entries in saturation."""

    active: float
    saturated: float


class _Sample(NamedTuple):
    """What one batch showed: each layer's tanh gate, the median head's half-life, parameters that got a gradient.

    The last is empty where gradients were not followed.
    """

    tanh: dict[str, _TanhUse]
    half_life: float
    reached: set[str]


def _measure(config: RunConfig, model: Model, batch: Batch, *, gradients: bool) -> _Sample:
    model.zero_grad(set_to_none=True)
    with torch.set_grad_enabled(gradients), watched(model, TanhGate) as tanh, watched(model, GateHeads) as heads:
        output = forward(model, batch, model.initial_state(batch.tokens.shape[0]), config.train.precision)
    if gradients:
        torch.autograd.backward(mean_loss(config, output, batch))
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return _Sample(
        tanh={name: _tanh_use(calls) for name, calls in tanh.items()},
        half_life=_median_half_life([calls[0] for calls in heads.values()]),
        reached={name for name, g in found.items() if bool(torch.isfinite(g).all()) and bool(g.any())},
    )


def _tanh_use(calls: Sequence[Tensor]) -> _TanhUse:
    """Judge the inputs of a tanh by its outputs [batch, time, heads, key], as it is monotonic."""
    if not calls:
        return _TanhUse(0.0, 0.0)
    size = calls[0].detach().abs()
    active = (size.amax(-1) > math.tanh(NONLINEAR)).double().mean()
    return _TanhUse(active.item(), (size > math.tanh(SATURATED)).double().mean().item())


def _median_half_life(gates: Sequence[Gates]) -> float:
    """Return the tokens in which at least half of all heads keep half: ln 2 / mean(-ln retention) of each head.

    The mean is over tokens, and over the rows or columns of a head that have a gate each. A head that forgets nothing
    counts as one that forgets half in ENDLESS tokens.
    """
    means = [-layer.retention.detach().double().log().mean((0, 1)) for layer in gates]
    decay = torch.cat([mean.flatten(1).mean(-1) if mean.ndim > 1 else mean for mean in means])
    decay = decay.clamp(min=math.log(2.0) / ENDLESS)
    longest_first = (math.log(2.0) / decay).sort(descending=True).values
    return longest_first[math.ceil(len(longest_first) / 2) - 1].item()


def _has_tanh(config: ModelConfig) -> bool:
    """Return whether queries go through a tanh; without writes they are not projected at all."""
    return config.memory.qk_projection.kind == "frobenius_tanh" and not config.disable_memory


def _tanh_evidence(config: ModelConfig, samples: Sequence[dict[str, _TanhUse]]) -> JsonValue:
    """Return the mean shares of each layer, or why there are none."""
    if not _has_tanh(config):
        kind = config.memory.qk_projection.kind
        return (
            f'not applicable: no tanh gate with qk_projection.kind = "{kind}", disable_memory = {config.disable_memory}'
        )
    return {
        name: {
            "active": float(np.mean([sample[name].active for sample in samples])),
            "saturated": float(np.mean([sample[name].saturated for sample in samples])),
        }
        for name in samples[0]
    }


def _tanh_checks(config: ModelConfig, samples: Sequence[dict[str, _TanhUse]]) -> list[Check]:
    """Return the checks of the layer that is worst at each; none where the configuration has no tanh gate."""
    if not _has_tanh(config):
        return []
    if len(samples[0]) < config.n_layers:
        found = f"{len(samples[0])} of {config.n_layers} layers have the tanh gate that the configuration names"
        return [at_least("tanh gate is non-linear", 0.0, ACTIVE_SHARE, found)]
    active = {name: [sample[name].active for sample in samples] for name in samples[0]}
    saturated = {name: [sample[name].saturated for sample in samples] for name in samples[0]}
    sleepy = min(active, key=lambda name: mean_interval(active[name]).low)
    full = max(saturated, key=lambda name: mean_interval(saturated[name]).high)
    awake, shut = float(np.mean(active[sleepy])), float(np.mean(saturated[full]))
    return [
        at_least(
            "tanh gate is non-linear",
            awake,
            ACTIVE_SHARE,
            f"in {sleepy} {awake:.1%} of tokens and heads send an entry above {NONLINEAR} through tanh",
            mean_interval(active[sleepy]),
        ),
        at_most(
            "tanh gate is not saturated",
            shut,
            SATURATED_SHARE,
            f"in {full} {shut:.1%} of entries are above {SATURATED}, where tanh is flat",
            mean_interval(saturated[full]),
        ),
    ]


def _half_life_check(config: ModelConfig, samples: Sequence[float]) -> Check:
    mean = float(np.mean(samples))
    threshold = max(LEAST_HALF_LIFE, float(config.attention.window))
    return at_least(
        "memory outlasts attention",
        mean,
        threshold,
        f"half of the heads keep half of their memory for {mean:.1f} tokens or more",
        mean_interval(samples),
    )


def _feature_check(model: nn.Module, seed: int, count: int) -> Check:
    """Check the layer whose features of random unit keys are most alike."""
    layers = {name: module for name, module in model.named_modules() if isinstance(module, MemoryBranch)}
    samples = {name: _feature_cosines(layer, seed, count) for name, layer in layers.items()}
    name = max(samples, key=lambda layer: mean_interval(samples[layer]).high)
    mean = float(np.mean(samples[name]))
    return at_most(
        "features keep keys apart",
        mean,
        FEATURE_COSINE,
        f"in {name} the features of two random keys have a cosine of {mean:.3f} on average",
        mean_interval(samples[name]),
    )


@torch.no_grad()
def _feature_cosines(layer: MemoryBranch[Any], seed: int, count: int) -> list[float]:
    """Return the mean cosine between the features of distinct random unit keys, for `count` draws of keys."""
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randn(count, FEATURE_KEYS, layer.key_dim, generator=generator)
    keys = normalize(draws, dim=-1).to(layer.projection.weight.device)
    features = normalize(layer.expand(keys), dim=-1)
    together = features.sum(1).square().sum(-1) - FEATURE_KEYS
    cosines: list[float] = (together / (FEATURE_KEYS * (FEATURE_KEYS - 1))).tolist()
    return cosines


def _drift_check(
    config: RunConfig, subject: Subject, model: Model, batches: Sequence[Batch], steps: int
) -> tuple[Check, dict[str, float]]:
    """Train the model and return the check of the parameter that drifts most, with the drift of each."""
    name = "small parameters move as meant"
    try:
        shares = drifts(config, model, subject.optimiser(model, config.optim), batches, steps)
    except NonFiniteError as error:
        return at_most(name, math.nan, DRIFT, f"the probe training failed: {error}"), {}
    if not shares:
        return at_most(name, math.nan, DRIFT, f"no small parameter was meant to move in {steps} steps"), {}
    largest = max(shares, key=shares.__getitem__)
    sentence = f"{largest} is off its float64 trajectory by {shares[largest]:.2%} of its path in {steps} steps"
    return at_most(name, shares[largest], DRIFT, sentence), shares
