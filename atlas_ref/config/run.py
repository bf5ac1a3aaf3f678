"""A complete run: all sections, and what they must have in common."""

from collections.abc import Iterator

from atlas_ref.config.data import DataConfig
from atlas_ref.config.model import ModelConfig
from atlas_ref.config.optim import OptimConfig
from atlas_ref.config.section import Section
from atlas_ref.config.switches import KillSwitchesConfig
from atlas_ref.config.train import TrainConfig


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
