"""Every field of the configuration is read by the program: a field that nothing reads is a promise that nothing keeps.

Reads are recorded while one small run trains, goes on, is evaluated and generates, and while variants of it that
together reach every branch train. What the configuration reads of itself in order to validate, print or hash itself
does not count; what one of its properties reads on behalf of the program does.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
import torch
from pydantic import BaseModel

from atlas_ref.config import RunConfig, Section, TrainConfig, load_config
from atlas_ref.config.errors import sections_of
from atlas_ref.config.toml import written
from atlas_ref.data.streams import open_source
from atlas_ref.generation.generate import generate, read_prompt
from atlas_ref.generation.sampling import Sampling, stream
from atlas_ref.models.atlas import AtlasModel
from atlas_ref.models.registry import build_model
from atlas_ref.tasks.registry import task_of
from atlas_ref.training.evaluate import evaluate
from spec_tests.package.data.answer_inputs import sums, write_rows
from spec_tests.package.micro.arithmetic import ONE_HOT, arithmetic_config, transformer_config
from spec_tests.package.micro.cognate import RELAY, cognate_config
from spec_tests.package.micro.curriculum import curriculum_config, write_sets
from spec_tests.package.micro.episodes import EPISODES, WITH_TEXT
from spec_tests.package.micro.runs import DROPOUT, MICRO, RECALL, go_on, micro_config, start

OWN_MODULES = ("atlas_ref.config", "pydantic", "jaxtyping", "beartype", "spec_tests.shapes", __name__)
"""Modules that stand between the program and a field: those of the configuration, and what checks its signatures."""
OWN_USE = ("problems", "_lines")
"""The functions of the configuration that validate and print it."""
DEMANDS = ["data.recall.gap", "model.family"]
"""Fields that ask something of other fields: refusing a configuration is their whole effect (`test_config`)."""
TWO_STEPS = ("train.max_steps=2", "optim.warmup_steps=1", "kill_switches.loss_spike_window=1")
ONE_TOKEN = ("model.memory.rule='delta'", "model.memory.chunk=1", "model.memory.step_scale='literal'")
VARIANTS = {
    "two stages": ("stage2.steps=1", "stage2.chunks=[2]"),
    "dropout and an average": (*DROPOUT, "optim.average=0.9", "optim.memory_rate=0.5"),
    "muon, convex gate, wsd": ("optim.name='muon'", "model.gate.kind='convex'", "optim.schedule='wsd'"),
    "mugrokfast": ("optim.name='mugrokfast'", "optim.average=0.9"),
    "a floor that comes down, polarisation, samples": (
        "train.sample_interval=1",
        "train.sample_tokens=1",
        "model.gate.floor_start=0.3",
        "model.gate.floor_decay_steps=2",
        "optim.polarisation_start=0.1",
        "optim.polarisation_end=0.01",
    ),
    "recall, mlp, titans, gated queries": (
        *RECALL,
        "model.memory.architecture='mlp'",
        "model.memory.rule='titans'",
        "model.memory.qk_projection.kind='frobenius_tanh'",
        "model.feed_forward='none'",
    ),
    "Newton-Schulz in shards": (
        "model.memory.rule='atlas'",
        "model.memory.qk_projection.kind='tnt'",
        "model.memory.shards.length=8",
    ),
    "memory as a layer": ("model.block='mal'", "model.attention.persistent_in_memory=true"),
    "memory as context": ("model.block='mac'", "model.mac.segment=16", "model.mac.rows='learned'"),
    "a hierarchy": (
        "model.memory.kind='hierarchical'",
        "model.memory.qk_projection.kind='tnt'",
        "model.memory.hierarchy.local_chunks=[2]",
        "model.memory.hierarchy.local_shards=[8]",
    ),
    "ridge": (*ONE_TOKEN, "model.memory.algorithm='ridge'"),
}


EPISODIC = (
    WITH_TEXT,
    (
        "data.episodes.text_share=0.5",
        "data.episodes.words=3",
        "data.tokenizer='bpe'",
        "data.bpe_vocab_size=270",
        "model.vocab_size=280",
        "model.gate.floor_until=[1]",
        "model.gate.floor_before=[0.1]",
    ),
)
"""Of the task of episodes: true answers, and drawn ones with a floor in steps."""

COGNATE_VARIANTS = (
    ("model.halting.kind='row'", "model.ltm.kind='both'"),
    ("model.recursion.nets='shared'", "model.recursion.supervision='equal'", *RELAY),
    ("data.source='sudoku'", "data.sequence_length=72", "model.positions=144", "model.vocab_size=7"),
)
"""Of the other family; relay and sudoku draw from sections of their own."""


def leaves(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[type[BaseModel], str, str]]:
    """Yield the class, name and dotted name of every field that is not itself a section."""
    for name, field in section.model_fields.items():
        for kind in sections_of(field):
            yield from leaves(kind, f"{prefix}{written(name, field)}.")
        if not sections_of(field):
            yield section, name, f"{prefix}{name}"


def is_the_program(frame: FrameType | None) -> bool:
    """Whether an attribute is read for the program: by it, or by a property of the configuration that it asked for."""
    while frame is not None:
        if frame.f_code.co_name in OWN_USE:
            return False
        module = str(frame.f_globals["__name__"])
        if not module.startswith(OWN_MODULES):
            return module.startswith("atlas_ref.")
        frame = frame.f_back
    return False


@contextmanager
def recorded_reads() -> Iterator[set[tuple[str, str]]]:
    """Collect (class name, field) of everything the program reads meanwhile."""
    reads: set[tuple[str, str]] = set()

    def record(self: Section, name: str) -> object:
        read = (type(self).__name__, name)
        if read not in reads and not name.startswith("_") and is_the_program(sys._getframe(1)):
            reads.add(read)
        return object.__getattribute__(self, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Section, "__getattribute__", record, raising=False)
        yield reads


def unread(root: type[RunConfig], reads: set[tuple[str, str]]) -> list[str]:
    """Return the dotted names of the fields that are not among the reads."""
    return sorted({dotted for section, name, dotted in leaves(root) if (section.__name__, name) not in reads})


def use(config: RunConfig, path: Path) -> None:
    """Train, go on from a checkpoint, evaluate and generate."""
    start(config, path)
    go_on(config, path)
    model = build_model(config.any_model, config.train.seed)
    evaluate(model, task_of(config.data), open_source(config), 1, config.train.precision)
    list(generate(read_prompt(model, [1, 2]), 2, Sampling(), stream(0)))


def test_products_of_float32_are_of_tf32_beside_those_of_bf16_of_a_matrix_that_descent_writes() -> None:
    """Kills: a run in full precision that multiplies in tf32; least squares in tf32; a linear memory left out."""
    coarse = ["train.precision='bf16'"]
    assert load_config("tiny", coarse).asks_for_tf32
    assert load_config("tiny", [*coarse, "model.memory.rule='titans'"]).asks_for_tf32
    squares = ["algorithm='ridge'", "rule='delta'", "chunk=1", "step_scale='literal'"]
    for changes in (["train.precision='fp32'"], [*coarse, *(f"model.memory.{field}" for field in squares)]):
        assert not load_config("tiny", changes).asks_for_tf32


def test_every_field_is_read_by_the_program(tmp_path: Path) -> None:
    """Kills: a field that was left behind when its code went, or added before its code came."""
    text = tmp_path / "text.txt"
    text.write_text("The quick brown fox jumps over the lazy dog, and the dog sleeps on. " * 200)
    bpe = ("data.source='path'", f"data.path='{text}'", "data.tokenizer='bpe'", "data.bpe_vocab_size=270")
    answers = ("data.source='answers'", f"data.path='{write_rows(tmp_path / 'rows.jsonl', sums(60))}'")
    variants = {**VARIANTS, "byte pairs of a file": (*bpe, "model.vocab_size=270"), "prompts with answers": answers}
    with recorded_reads() as reads:
        use(micro_config(*TWO_STEPS), tmp_path / "plain")
        for number, overrides in enumerate(variants.values()):
            start(micro_config(*overrides, *TWO_STEPS), tmp_path / f"run-{number}")
        for number, overrides in enumerate(COGNATE_VARIANTS):
            start(cognate_config(*overrides, *TWO_STEPS), tmp_path / f"cognate-{number}")
        start(arithmetic_config(*TWO_STEPS, *ONE_HOT), tmp_path / "perceptron")
        for number, overrides in enumerate(EPISODIC):
            start(micro_config(*EPISODES, *overrides, *TWO_STEPS), tmp_path / f"episodes-{number}")
        start(transformer_config(*TWO_STEPS), tmp_path / "transformer")
        plan = ("data.curriculum.epoch_steps=1", "data.curriculum.judged=1")
        start(curriculum_config(write_sets(tmp_path / "sets"), *plan, *TWO_STEPS), tmp_path / "curriculum")

    assert unread(RunConfig, reads) == DEMANDS


class PlantedTrain(TrainConfig):
    """A section with one field too many."""

    patience: int


class PlantedRun(RunConfig):
    """A run with that section."""

    train: PlantedTrain


def test_a_field_that_nothing_reads_is_found(tmp_path: Path) -> None:
    """The test above can fail: validation, printing and hashing read the planted field, the program does not."""
    table = load_config("tiny", [*MICRO, *TWO_STEPS]).model_dump()
    table["train"]["patience"] = 3
    config = PlantedRun.model_validate(table)
    model = AtlasModel(config.model, seed=0)
    with recorded_reads() as reads, torch.no_grad():
        batch = open_source(config).batch(0)
        model(batch.tokens, model.initial_state(len(batch.tokens)), batch.reset)

    found = unread(PlantedRun, reads)
    assert "train.patience" in found
    assert "data.sequence_length" not in found
