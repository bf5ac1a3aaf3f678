"""A second stage of training, in finer chunks than the first (TNT 2511.07343 Section 4.2)."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from atlas_ref.config.hierarchy import Chunks
from atlas_ref.config.model import ModelConfig
from atlas_ref.config.optim import OptimConfig
from atlas_ref.config.section import Section


class Stage2Config(Section):
    """What changes after train.max_steps steps; weights, optimiser and memories go on."""

    steps: int = Field(ge=0, le=10**9)
    """optimiser steps after train.max_steps; 0: no second stage"""
    chunks: Chunks
    """tokens of a chunk in it: of the memory, or of each local one of a hierarchy; [] without a second stage"""
    rate: float = Field(gt=0.0, le=1.0)
    """its learning rate, as a share of the peak"""
    trainable: Literal["all", "local"]
    """what learns in it: all, or of a hierarchy the starts and gates of its local memories"""


def second_stage(stage: Stage2Config, model: ModelConfig, optimiser: OptimConfig) -> Iterator[str]:
    """Yield a sentence for each thing that makes no sense in a second stage of a model."""
    if not stage.steps:
        if stage.chunks:
            yield f"stage2.chunks is {list(stage.chunks)}; it must be [] for stage2.steps = 0"
        return
    if model.disable_memory:
        yield f"stage2.steps is {stage.steps}; it must be 0 for model.disable_memory = true, which writes in no chunks"
    now = model.memory.stage_chunks()
    if len(stage.chunks) != len(now):
        yield (
            f"stage2.chunks has {len(stage.chunks)} entries; it must have {len(now)}, one for each of the chunks "
            f"{list(now)} of the first stage"
        )
        return
    for finer, chunk in zip(stage.chunks, now, strict=True):
        if finer >= chunk:
            yield f"stage2.chunks has {finer}; it must be less than the chunk of the first stage, which is {chunk}"
    for problem in model.memory.in_chunks(stage.chunks).problems():
        yield f"stage2.chunks is {list(stage.chunks)}; with it {problem}"
    if stage.trainable == "local" and model.memory.kind != "hierarchical":
        yield 'stage2.trainable is "local"; it must be "all" for model.memory.kind = "single", without local ones'
    if stage.trainable == "local" and optimiser.filters:
        yield (
            f'stage2.trainable is "local"; it must be "all" for optim.name = "{optimiser.name}", which filters all '
            "gradients"
        )
