"""How long a run trains, on what, and what it says and keeps meanwhile."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from atlas_ref.config.section import Section


class TrainConfig(Section):
    """How long, on what, and how often something is reported."""

    max_steps: int = Field(ge=1, le=10**9)
    """optimiser steps"""
    batch_size: int = Field(ge=1, le=100_000)
    """rows of a batch, in all processes together; each is a stream of its own"""
    micro_batches: int = Field(ge=1, le=100_000)
    """parts that a batch is cut into by rows, to be run one after another; changes memory and time, not the result"""
    parallel: Literal["ddp", "fsdp"]
    """how several processes share a model: a copy each, or parameters in shards; one process needs neither"""
    seed: int = Field(ge=0, lt=2**63)
    """of the initial weights and of the order of the data"""
    device: Literal["auto", "cpu", "cuda"]
    """auto: cuda where there is one"""
    precision: Literal["fp32", "bf16"]
    """of matrix products; the memory stays in fp32, and where it is a matrix a GPU multiplies it in tf32 beside bf16"""
    threads: int = Field(ge=1, le=1024)
    """threads of the CPU"""
    graph: Literal["auto", "off"]
    """auto: steps on one GPU are recorded and replayed where they can be (CUDA graph)"""
    log_interval: int = Field(ge=1, le=10**9)
    """steps between lines of the log"""
    eval_interval: int = Field(ge=1, le=10**9)
    """steps between validations"""
    eval_batches: int = Field(ge=1, le=10**9)
    """most batches of a validation"""
    patience: int = Field(ge=0, le=10**9)
    """validations after the best one with which the run ends; 0: it goes to its last step"""
    save_interval: int = Field(ge=1, le=10**9)
    """steps between checkpoints"""
    sample_interval: int = Field(ge=0, le=10**9)
    """steps between texts that the model is asked for (samples.jsonl); 0: none"""
    sample_prompt: str = Field(max_length=4096)
    """what such a text goes on from"""
    sample_tokens: int = Field(ge=1, le=1_000_000)
    """most tokens of such a text"""
    keep_last: int = Field(ge=1, le=10**9)
    """newest checkpoints that are kept"""
    keep_best: bool
    """whether the best checkpoint by validation is kept too"""
    best: Literal["loss", "retrieval_gain"]
    """what is best: the least loss, or of episodes the most that storage adds to what is retrieved"""
    tensorboard: bool
    """whether metrics also go to TensorBoard event files"""
    wandb: bool
    """whether metrics also go to Weights & Biases, offline where it is offline"""

    def problems(self) -> Iterator[str]:
        """Yield a sentence for rows that do not divide, and for samples of nothing."""
        if self.sample_interval and not self.sample_prompt:
            yield (
                f"train.sample_prompt is empty; it must hold some text for train.sample_interval = "
                f"{self.sample_interval}, or that be 0"
            )
        if self.batch_size % self.micro_batches:
            yield (
                f"train.micro_batches is {self.micro_batches}; it must divide train.batch_size, "
                f"which is {self.batch_size}"
            )
