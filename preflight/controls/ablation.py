"""Subjects whose memory is there and of no use: what Memory Ablation must fail."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from atlas_ref.blocks.memory_branch import MemoryBranch, MemoryLayerOutput
from atlas_ref.config import ModelConfig
from atlas_ref.models.atlas import AtlasModel
from preflight.controls.gain import detached_output, short_memory
from preflight.subject import HEALTHY, Control


def _with_reads(change: Callable[[Tensor], Tensor]) -> Callable[[ModelConfig, int], AtlasModel]:
    """Return a maker of models in which every memory's reads are changed before anything sees them."""

    def hook(_module: nn.Module, _inputs: Any, output: MemoryLayerOutput) -> MemoryLayerOutput:
        return output._replace(reads=change(output.reads))

    def build(config: ModelConfig, seed: int) -> AtlasModel:
        model = AtlasModel(config, seed)
        for module in model.modules():
            if isinstance(module, MemoryBranch):
                module.register_forward_hook(hook)
        return model

    return build


zeroed_reads = _with_reads(torch.zeros_like)
swapped_reads = _with_reads(lambda reads: reads.roll(1, 0))


def never_written(config: ModelConfig, seed: int) -> AtlasModel:
    """Return a model that reads its initial memory for ever, although the configuration says that it writes."""
    return AtlasModel(config.model_copy(update={"disable_memory": True}), seed)


ABLATION_CONTROLS = tuple(
    Control(subject, gate="memory-ablation", also=also, overrides=())
    for subject, also in (
        (replace(HEALTHY, name="memory output zeroed", model=zeroed_reads), ("proof-of-life", "seed-competition")),
        # Random addresses keep which values a row holds, so that a seed is worth something even so.
        (replace(HEALTHY, name="memory output detached", model=detached_output), ("proof-of-life",)),
        (replace(HEALTHY, name="half-life of one token", model=short_memory), ("proof-of-life", "seed-competition")),
        (replace(HEALTHY, name="memory never written", model=never_written), ("proof-of-life", "seed-competition")),
        (replace(HEALTHY, name="reads swapped between rows", model=swapped_reads), ("baton-pass", "seed-competition")),
    )
)
