"""The run configuration: one strict, frozen tree, with no default anywhere.

A run is described by a TOML file that holds every field. A missing, unknown, mistyped, NaN or out-of-range field is
refused with its dotted name, its file and what would be valid (`config_errors`); the sections of the model are in
`config_model`, TOML text in `config_toml`. The only leniency: an integer is taken where a number is expected.

A field that the rest of its section switches off (for instance `feed_forward_dim` with `feed_forward = "none"`) must
still be present and in range; it then has no effect.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from atlas_ref.config_errors import describe, nearest
from atlas_ref.config_model import (
    AttentionConfig,
    FeaturesConfig,
    GateConfig,
    GatesConfig,
    MemoryConfig,
    ModelConfig,
    NewtonSchulzConfig,
    QKProjectionConfig,
    Section,
    ShardsConfig,
)
from atlas_ref.config_switches import KillSwitchesConfig
from atlas_ref.config_toml import apply_overrides, read_toml, write_toml
from atlas_ref.data.vocabulary import BYTE_VOCABULARY, MOST_TOKENS, RECALL_FILLERS
from atlas_ref.errors import UserError

__all__ = [
    "AttentionConfig",
    "DataConfig",
    "FeaturesConfig",
    "GateConfig",
    "GatesConfig",
    "KillSwitchesConfig",
    "MemoryConfig",
    "ModelConfig",
    "NewtonSchulzConfig",
    "OptimConfig",
    "QKProjectionConfig",
    "RecallConfig",
    "RunConfig",
    "Section",
    "ShardsConfig",
    "TrainConfig",
    "config_hash",
    "load_config",
    "parse_config",
    "preset_names",
    "to_toml",
]


class OptimConfig(Section):
    """The outer optimiser and its schedule (`training.schedule` has the equations)."""

    name: Literal["adamw", "muon"]
    """muon: hidden matrices by Muon, everything else by AdamW"""
    learning_rate: float = Field(gt=0.0, le=10.0)
    """peak learning rate of AdamW"""
    min_learning_rate: float = Field(ge=0.0, le=10.0)
    """AdamW's learning rate that cosine and wsd come down to"""
    muon_learning_rate: float = Field(gt=0.0, le=10.0)
    """peak learning rate of Muon; its schedule has the same shape"""
    muon_momentum: float = Field(ge=0.0, lt=1.0)
    """momentum of Muon"""
    beta1: float = Field(ge=0.0, lt=1.0)
    """AdamW's decay of the mean gradient"""
    beta2: float = Field(ge=0.0, lt=1.0)
    """AdamW's decay of the mean squared gradient"""
    eps: float = Field(gt=0.0, le=1e-2)
    """added to AdamW's denominator"""
    weight_decay: float = Field(ge=0.0, le=10.0)
    """decoupled decay of matrices"""
    warmup_steps: int = Field(ge=0, le=10**9)
    """steps of linear warm-up"""
    schedule: Literal["cosine", "constant", "wsd"]
    """after the warm-up; constant, and wsd until it comes down, do not depend on max_steps"""
    decay_steps: int = Field(ge=1, le=10**9)
    """last steps of the run, in which wsd comes down"""
    max_norm: float = Field(gt=0.0, le=1e6)
    """gradients are clipped to this norm"""
    polarisation_start: float = Field(ge=0.0, le=1e3)
    """weight of the loss mean(1 - |2 g - 1|) of the gates at the first step; 0.0 is off"""
    polarisation_end: float = Field(ge=0.0, le=1e3)
    """its weight at the last step, reached in equal ratios"""

    def problems(self) -> Iterator[str]:
        """Yield a sentence for a learning rate that would rise, and for equal ratios from or to zero."""
        start, end = self.polarisation_start, self.polarisation_end
        if (start > 0.0) != (end > 0.0):
            zero, other = ("end", "start") if start > 0.0 else ("start", "end")
            yield (
                f"optim.polarisation_{zero} is 0.0; it must be greater than 0 with optim.polarisation_{other} = "
                f"{max(start, end)}, as the weight goes from one to the other in equal ratios; both 0.0 is off"
            )
        if self.min_learning_rate > self.learning_rate:
            yield (
                f"optim.min_learning_rate is {self.min_learning_rate}; "
                f"it must be at most optim.learning_rate, which is {self.learning_rate}"
            )


class RecallConfig(Section):
    """Synthetic multi-query associative recall: pairs, then filler, then queries."""

    pairs: int = Field(ge=1, le=100_000)
    """key-value pairs in a row"""
    keys: int = Field(ge=1, le=500_000)
    """different keys"""
    values: int = Field(ge=2, le=400_000)
    """different values; chance is one in so many"""
    gap: int = Field(ge=0, le=10_000_000)
    """least number of filler tokens before the queries; filler grows to fill the row"""
    queries: int = Field(ge=1, le=100_000)
    """keys asked for in a row, each at most once"""

    @property
    def vocab_size(self) -> int:
        """Keys, then values, then fillers."""
        return self.keys + self.values + RECALL_FILLERS

    def filler(self, sequence_length: int) -> int:
        """Filler tokens between the last pair and the first query in a row of `sequence_length` tokens."""
        return sequence_length - 2 * (self.pairs + self.queries)

    def problems(self) -> Iterator[str]:
        """Yield a sentence for a row that cannot be drawn."""
        if self.pairs > self.keys:
            yield f"data.recall.pairs is {self.pairs}; it must be at most data.recall.keys, which is {self.keys}"
        if self.queries > self.pairs:
            yield f"data.recall.queries is {self.queries}; it must be at most data.recall.pairs, which is {self.pairs}"


class DataConfig(Section):
    """What the model is trained on."""

    source: Literal["shakespeare", "recall", "path"]
    """the shipped text, the synthetic task, or the text at path"""
    path: str = Field(max_length=4096)
    """file or folder for source = "path"; else empty"""
    text_key: str = Field(min_length=1, max_length=256)
    """key or column of the text in JSONL and parquet; + joins several, | separates what is tried in turn"""
    tokenizer: Literal["bytes", "bpe"]
    """of text: bytes, or byte-pair encoding trained on the training part"""
    bpe_vocab_size: int = Field(ge=BYTE_VOCABULARY, le=MOST_TOKENS)
    """vocabulary of bpe, its document separator included"""
    sequence_length: int = Field(ge=1, le=10_000_000)
    """tokens in a row of a batch"""
    context_batches: int = Field(ge=1, le=10**9)
    """batches after which every row of text begins afresh, if its document has not ended before"""
    reset_memory_per_sequence: bool
    """whether every document begins with the initial memory; otherwise only every context does"""
    validation_fraction: float = Field(gt=0.0, lt=1.0)
    """share of the text, at its end, that is only validated on"""
    recall: RecallConfig

    @property
    def vocab_size(self) -> int:
        """The vocabulary that source and tokenizer make."""
        if self.source == "recall":
            return self.recall.vocab_size
        return self.bpe_vocab_size if self.tokenizer == "bpe" else BYTE_VOCABULARY

    @property
    def vocabulary(self) -> str:
        """What that vocabulary is, for a message."""
        if self.source == "recall":
            return "the keys, values and fillers of data.recall"
        return 'data.bpe_vocab_size of data.tokenizer = "bpe"' if self.tokenizer == "bpe" else "bytes and a separator"

    def problems(self) -> Iterator[str]:
        """Yield a sentence for a path that is of no use or missing, and a recall row that does not fit."""
        if self.source == "path" and not self.path:
            yield 'data.path is empty; it must name a file or folder for data.source = "path"'
        if self.source != "path" and self.path:
            yield f'data.path is "{self.path}"; it must be empty unless data.source = "path"'
        if "\0" in self.path:
            yield f'data.path is "{self.path}"; it must be the name of a file or folder, which holds no zero character'
        if not all(name for alternative in self.text_key.split("|") for name in alternative.split("+")):
            yield f'data.text_key is "{self.text_key}"; it must be a name, or names with + or | between two of them'
        filler = self.recall.filler(self.sequence_length)
        if self.source == "recall" and filler < self.recall.gap:
            least = self.sequence_length - filler + self.recall.gap
            yield (
                f"data.sequence_length is {self.sequence_length}; it must be at least {least} "
                "to hold data.recall.pairs, data.recall.gap and data.recall.queries"
            )


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
    """of matrix products; the memory stays in fp32"""
    threads: int = Field(ge=1, le=1024)
    """threads of the CPU"""
    log_interval: int = Field(ge=1, le=10**9)
    """steps between lines of the log"""
    eval_interval: int = Field(ge=1, le=10**9)
    """steps between validations"""
    eval_batches: int = Field(ge=1, le=10**9)
    """most batches of a validation"""
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
    """whether the checkpoint with the least validation loss is kept too"""
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


class RunConfig(Section):
    """A complete run."""

    model: ModelConfig
    optim: OptimConfig
    data: DataConfig
    train: TrainConfig
    kill_switches: KillSwitchesConfig

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each contradiction between sections."""
        if self.train.sample_interval and self.data.source == "recall":
            yield (
                f"train.sample_interval is {self.train.sample_interval}; it must be 0 for data.source = "
                '"recall", which is not text'
            )
        if self.optim.warmup_steps > self.train.max_steps:
            yield (
                f"optim.warmup_steps is {self.optim.warmup_steps}; "
                f"it must be at most train.max_steps, which is {self.train.max_steps}"
            )
        if self.model.vocab_size != self.data.vocab_size:
            yield (
                f"model.vocab_size is {self.model.vocab_size}; it must be {self.data.vocab_size} "
                f"({self.data.vocabulary}): add --set model.vocab_size={self.data.vocab_size}"
            )
        distance = self.data.recall.filler(self.data.sequence_length) + 1
        if self.data.source == "recall" and distance <= self.model.reach:
            yield (
                f"data.sequence_length is {self.data.sequence_length}; it must be at least "
                f"{self.data.sequence_length + self.model.reach + 1 - distance}, so that no answer of data.recall lies "
                f"within the {self.model.reach} tokens that the layers of the model see without memory"
            )


def preset_names() -> list[str]:
    """Names of the shipped presets: the files of `atlas_ref/configs`, without their ending."""
    return sorted(entry.name.removesuffix(".toml") for entry in _presets().iterdir() if entry.name.endswith(".toml"))


def load_config(name_or_path: str, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a preset, or the TOML file at a path, change it by overrides such as `train.seed=1`, and validate it.

    A text that is a preset's name is one; anything else that ends in `.toml`, holds a path separator or exists is a
    path. Raises UserError with one line for each thing that is wrong.
    """
    file, origin = _locate(name_or_path)
    return parse_config(read_toml(file, origin), origin, overrides)


def parse_config(table: Mapping[str, Any], origin: str, overrides: Sequence[str] = ()) -> RunConfig:
    """Validate a nested table that came from `origin` (a file's name, used in messages), after applying overrides."""
    changed = apply_overrides(table, overrides, origin)
    try:
        return RunConfig.model_validate(changed)
    except ValidationError as error:
        raise UserError("\n".join(describe(error, RunConfig, origin, overrides))) from None


def to_toml(config: RunConfig) -> str:
    """The configuration as TOML text, each field with its meaning; loading it gives the same configuration."""
    return write_toml(config)


def config_hash(config: RunConfig) -> str:
    """SHA-256 of the canonical JSON of the configuration (sorted keys, no spaces), in hexadecimal."""
    canonical = json.dumps(config.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _presets() -> Traversable:
    return resources.files("atlas_ref") / "configs"


def _locate(name_or_path: str) -> tuple[Traversable, str]:
    """The preset or file that is meant, and what messages call it."""
    names = preset_names()
    if name_or_path in names:
        return _presets() / f"{name_or_path}.toml", f"{name_or_path}.toml"
    path = Path(name_or_path)
    if name_or_path.endswith(".toml") or "/" in name_or_path or (name_or_path and os.path.exists(path)):
        return path, name_or_path
    guess = nearest(name_or_path, names)
    raise UserError(
        f'"{name_or_path}" is neither a preset nor a file; did you mean "{guess}"? The presets are {", ".join(names)}.'
    )
