"""Subjects whose memory is asleep from the start, or cannot wake up: what Proof of Life must fail."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from atlas_ref.blocks.block import Block
from atlas_ref.config import ModelConfig, OptimConfig
from atlas_ref.models.atlas import AtlasModel
from atlas_ref.training.optimiser import OuterOptimiser, build_optimiser
from preflight.subject import HEALTHY, Control

TANH = ("model.memory.qk_projection.kind='frobenius_tanh'", "model.memory.qk_projection.gain=5.0")

Storage = Callable[[Tensor, Tensor], Tensor]
"""From a log-gain before and after a step in float32 to what is left of it where it is stored."""


@dataclass(frozen=True)
class CoarseGain(OuterOptimiser):
    """An optimiser of a model whose gain is not stored in float32."""

    storage: Storage

    def move(self) -> None:
        """Update every parameter and put the gains back to where they are stored."""
        gains = [p for named in self.names.values() for name, p in named.items() if name.endswith("log_gain")]
        before = [gain.detach().clone() for gain in gains]
        super().move()
        with torch.no_grad():
            for gain, old in zip(gains, before, strict=True):
                gain.copy_(self.storage(old, gain))


def bf16_gain(before: Tensor, after: Tensor) -> Tensor:
    """Store the gain itself in bfloat16; Adam's step is that of the logarithm, as it has no scale."""
    gain = before.exp().bfloat16().float() + (after - before)
    return gain.bfloat16().float().log()


def bf16_log_gain(before: Tensor, after: Tensor) -> Tensor:
    """Store the logarithm in bfloat16."""
    return (before.bfloat16().float() + (after - before)).bfloat16().float()


def _stored(storage: Storage) -> Callable[[nn.Module, OptimConfig], OuterOptimiser]:
    def build(model: nn.Module, config: OptimConfig) -> OuterOptimiser:
        healthy = build_optimiser(model, config)
        return CoarseGain(healthy.parts, healthy.names, healthy.peaks, storage)

    return build


def _with_gain(gain: float) -> Callable[[ModelConfig, int], AtlasModel]:
    def build(config: ModelConfig, seed: int) -> AtlasModel:
        projection = config.memory.qk_projection.model_copy(update={"gain": gain})
        return AtlasModel(_with_memory(config, qk_projection=projection), seed)

    return build


def short_memory(config: ModelConfig, seed: int) -> AtlasModel:
    """Return a model whose memory halves with every token, as a retention gate without a bias makes it."""
    gates = config.memory.gates.model_copy(update={"retention_init": 0.5, "fast_heads": 0})
    return AtlasModel(_with_memory(config, gates=gates), seed)


def elementwise_features(config: ModelConfig, seed: int) -> AtlasModel:
    """Return a model with the source system's features, which map random keys almost onto one direction."""
    features = config.memory.features.model_copy(update={"basis": "elementwise", "degree": 2})
    return AtlasModel(_with_memory(config, features=features), seed)


def detached_output(config: ModelConfig, seed: int) -> AtlasModel:
    """Return a model whose memory learns nothing, although the configuration says that it does."""
    model = AtlasModel(config, seed)
    for module in model.modules():
        if isinstance(module, Block):
            module.detached = True
    return model


def _with_memory(config: ModelConfig, **changes: object) -> ModelConfig:
    return config.model_copy(update={"memory": config.memory.model_copy(update=changes)})


GAIN_CONTROLS = (
    Control(
        replace(HEALTHY, name="gain 0.05", model=_with_gain(0.05)),
        gate="proof-of-life",
        also=(),
        overrides=TANH,
    ),
    Control(
        replace(HEALTHY, name="gain 100, saturated", model=_with_gain(100.0)),
        gate="proof-of-life",
        also=(),
        overrides=TANH,
    ),
    Control(
        replace(HEALTHY, name="gain stored in bf16 at 5.0", optimiser=_stored(bf16_gain)),
        gate="proof-of-life",
        also=(),
        overrides=TANH,
    ),
    Control(
        replace(HEALTHY, name="log-gain stored in bf16", optimiser=_stored(bf16_log_gain)),
        gate="proof-of-life",
        also=(),
        overrides=TANH,
    ),
    Control(
        replace(HEALTHY, name="memory output detached", model=detached_output),
        gate="proof-of-life",
        also=("memory-ablation",),
        overrides=(),
    ),
    Control(
        replace(HEALTHY, name="half-life of one token", model=short_memory),
        gate="proof-of-life",
        also=("seed-competition", "memory-ablation"),
        overrides=(),
    ),
    Control(
        replace(HEALTHY, name="elementwise features", model=elementwise_features),
        gate="proof-of-life",
        also=("seed-competition", "memory-ablation"),
        overrides=(),
    ),
)
