"""A complete run: all sections, and what they must have in common."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from atlas_ref.config.cognate import CognateConfig
from atlas_ref.config.data import GENERATED, DataConfig
from atlas_ref.config.model import ModelConfig
from atlas_ref.config.optim import OptimConfig
from atlas_ref.config.perceptron import PerceptronConfig
from atlas_ref.config.section import Section
from atlas_ref.config.stage2 import Stage2Config, second_stage
from atlas_ref.config.starts import written_out
from atlas_ref.config.switches import KillSwitchesConfig
from atlas_ref.config.train import TrainConfig
from atlas_ref.config.transformer import TransformerConfig
from atlas_ref.errors import UserError

ATLAS, COGNATE, PERCEPTRON, TRANSFORMER = "atlas", "cognate", "perceptron", "transformer"
"""The families of models; a section that names none is of the first."""
AnyModelConfig = ModelConfig | CognateConfig | PerceptronConfig | TransformerConfig
"""The section of a model of any family."""
SECTIONS: dict[type[Section], str] = {
    CognateConfig: COGNATE,
    PerceptronConfig: PERCEPTRON,
    TransformerConfig: TRANSFORMER,
}
"""The families that a section names."""


def named_family(section: Any) -> str:
    """Return the family that the table or section of a model is of; a name of none is left to `CognateConfig`."""
    if isinstance(section, dict):
        if "family" not in section:
            return ATLAS
        return str(section["family"]) if section["family"] in (PERCEPTRON, TRANSFORMER) else COGNATE
    return SECTIONS.get(type(section), ATLAS)


class RunConfig(Section):
    """A complete run."""

    model_config = ConfigDict(serialize_by_alias=True)

    any_model: Annotated[
        Annotated[ModelConfig, Tag(ATLAS)]
        | Annotated[CognateConfig, Tag(COGNATE)]
        | Annotated[PerceptronConfig, Tag(PERCEPTRON)]
        | Annotated[TransformerConfig, Tag(TRANSFORMER)],
        Discriminator(named_family),
    ] = Field(alias="model")
    optim: OptimConfig
    data: DataConfig
    train: TrainConfig
    stage2: Stage2Config
    kill_switches: KillSwitchesConfig

    @model_validator(mode="before")
    @classmethod
    def _written_out(cls, table: Any) -> Any:
        """Return the table with the numbers that the words of gates stand for (`starts`)."""
        return written_out(table)

    @property
    def model(self) -> ModelConfig:
        """The section of an ATLAS model; raises UserError where the run has a model of another family.

        What serves every family asks for `any_model`. Whoever asks for this one looks at the memory that is written at
        test time, which the others have not.
        """
        if isinstance(self.any_model, ModelConfig):
            return self.any_model
        raise UserError(
            f'model.family is "{self.any_model.family}", which has no memory that is written at test time; what was '
            "asked for looks at one."
        )

    @property
    def leaves_out(self) -> bool:
        """Whether training leaves anything out of the model (`model.dropout`)."""
        return isinstance(self.any_model, ModelConfig) and self.any_model.dropout.acts

    @property
    def asks_for_tf32(self) -> bool:
        """Whether products of float32 are of tf32 on a GPU: beside those of bf16, of what descent writes to a matrix or
        through Newton-Schulz.
        """
        if not isinstance(self.any_model, ModelConfig) or self.train.precision != "bf16":
            return False
        memory = self.any_model.memory
        matrix = memory.architecture == "matrix" or memory.rule in ("atlas", "atlas_appendix")
        return matrix and memory.algorithm == "gd"

    @property
    def judged_episodes(self) -> int:
        """Episodes of a validation: as many whole ones as its batches hold, one at least."""
        return max(1, self.train.eval_batches * self.data.sequence_length // self.data.episodes.tokens)

    @property
    def last_step(self) -> int:
        """The number of optimiser steps of both stages."""
        return self.train.max_steps + self.stage2.steps

    def of_update(self, update: int) -> "RunConfig":
        """Return the configuration of the model of one update (0-based), without its other stage."""
        if not self.stage2.steps or update < self.train.max_steps:
            return self
        memory = self.model.memory.in_chunks(self.stage2.chunks)
        only = self.stage2.model_copy(update={"steps": 0, "chunks": ()})
        return self.model_copy(update={"model": self.model.model_copy(update={"memory": memory}), "stage2": only})

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> "RunConfig":
        """Return a copy with sections replaced, that of the model under the name `model`, as in a file."""
        changed = {"any_model" if name == "model" else name: value for name, value in (update or {}).items()}
        return super().model_copy(update=changed, deep=deep)

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each contradiction between sections."""
        if self.train.sample_interval and not self.data.is_text:
            yield (
                f"train.sample_interval is {self.train.sample_interval}; it must be 0 for data.source = "
                f'"{self.data.source}", which is not text'
            )
        if self.optim.warmup_steps > self.train.max_steps:
            yield (
                f"optim.warmup_steps is {self.optim.warmup_steps}; "
                f"it must be at most train.max_steps, which is {self.train.max_steps}"
            )
        if self.train.patience and self.stage2.steps:
            yield (
                f"train.patience is {self.train.patience}; it must be 0 for stage2.steps = {self.stage2.steps}, whose "
                "second stage begins at a step that is known"
            )
        yield from self._room_for_tokens(self.any_model.vocab_size, self.data.vocab_size)
        if isinstance(self.any_model, ModelConfig):
            yield from self._recall_within_reach(self.any_model)
            yield from second_stage(self.stage2, self.any_model, self.optim)
        else:
            yield from self._without_chunks()
        if isinstance(self.any_model, CognateConfig | TransformerConfig):
            yield from self._positions(self.any_model.positions)
        if isinstance(self.any_model, CognateConfig):
            yield from self._first_answers(self.any_model)
        yield from self._gates()
        yield from self._arithmetic()
        yield from self._episodes()

    def warnings(self) -> Iterator[str]:
        """Yield a sentence for what is allowed and hardly meant."""
        if isinstance(self.any_model, ModelConfig):
            yield from self.any_model.memory.warnings()

    def _room_for_tokens(self, size: int, needed: int) -> Iterator[str]:
        """Yield a sentence for a model that lacks tokens of its data, or has more than a generated task."""
        text = self.data.source not in GENERATED
        if size < needed or (size > needed and not text):
            yield (
                f"model.vocab_size is {size}; it must be {'at least ' if text else ''}{needed} "
                f"({self.data.vocabulary}): add --set model.vocab_size={needed}"
            )

    def _recall_within_reach(self, model: ModelConfig) -> Iterator[str]:
        """Yield a sentence for recall that attention alone could answer."""
        distance = self.data.recall.filler(self.data.sequence_length) + 1
        if self.data.source == "recall" and distance <= model.reach:
            yield (
                f"data.sequence_length is {self.data.sequence_length}; it must be at least "
                f"{self.data.sequence_length + model.reach + 1 - distance}, so that no answer of data.recall lies "
                f"within the {model.reach} tokens that the layers of the model see without memory"
            )

    def _without_chunks(self) -> Iterator[str]:
        """Yield a sentence for what only a test-time memory has: a second stage, and a rate."""
        if self.optim.memory_rate != 1.0:
            yield (
                f"optim.memory_rate is {self.optim.memory_rate}; it must be 1.0 for model.family, which has no "
                "test-time memory"
            )
        if self.stage2.steps:
            yield f"stage2.steps is {self.stage2.steps}; it must be 0 for model.family, whose memory has no chunks"

    def _arithmetic(self) -> Iterator[str]:
        """Yield a sentence for a batch of more pairs than there are, and for other data where pairs alone will do.

        The sum of a longer document has no bound, and no gate examines these families on anything else.
        """
        arithmetic, model = self.data.source == "arithmetic", self.any_model
        if isinstance(model, PerceptronConfig | TransformerConfig) and not arithmetic:
            yield f'data.source is "{self.data.source}"; it must be "arithmetic" for model.family = "{model.family}"'
        if arithmetic and self.train.batch_size > (most := self.data.arithmetic.trained):
            yield (
                f"train.batch_size is {self.train.batch_size}; it must be at most {most}, the pairs of "
                "data.arithmetic that are trained on"
            )
        if isinstance(model, PerceptronConfig) and arithmetic and self.data.arithmetic.equals:
            yield (
                'data.arithmetic.equals is true; it must be false for model.family = "perceptron", which answers '
                "behind the second number"
            )

    def _episodes(self) -> Iterator[str]:
        """Yield a sentence for episodes without a memory to store in, or partners, and for a gain of anything else."""
        episodes = self.data.source == "episodes"
        if episodes and not isinstance(self.any_model, ModelConfig):
            yield 'data.source is "episodes"; it must be another one for model.family, which cannot be stored in'
        if episodes and self.train.batch_size % 2:
            yield (
                f'train.batch_size is {self.train.batch_size}; it must be even for data.source = "episodes", whose '
                "rows are judged in pairs"
            )
        if self.train.best == "retrieval_gain" and not episodes:
            yield 'train.best is "retrieval_gain"; it must be "loss" unless data.source = "episodes"'

    def _positions(self, positions: int) -> Iterator[str]:
        """Yield a sentence for documents beyond the positions of a model."""
        longest = self.data.sequence_length * self.data.context_batches
        if longest > positions:
            yield (
                f"model.positions is {positions}; it must be at least {longest}, the tokens that a document may "
                "have: data.sequence_length times data.context_batches"
            )

    def _first_answers(self, model: CognateConfig) -> Iterator[str]:
        """Yield a sentence for rows of text that would choose their answer by later tokens."""
        if model.halting.mode == "first" and model.halting.kind == "row" and self.data.source not in GENERATED:
            yield (
                f'model.halting.mode is "first"; it must be "last" for model.halting.kind = "row" and data.source = '
                f'"{self.data.source}": a row halts by all of its tokens, and a text has later ones'
            )

    def _gates(self) -> Iterator[str]:
        """Yield a sentence for a loss of gates in a model that has none."""
        model = self.any_model
        if isinstance(model, ModelConfig) or self.optim.polarisation_start == 0.0:
            return
        without = f'model.family = "{model.family}"'
        if isinstance(model, CognateConfig):
            if model.ltm.kind != "none":
                return
            without = 'model.ltm.kind = "none"'
        yield (
            f"optim.polarisation_start is {self.optim.polarisation_start}; it must be 0.0 for {without}, which has no "
            "gate"
        )
