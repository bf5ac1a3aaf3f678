"""Which presets have their steps recorded, on which sources: it asks the device nothing; any other says why.

A graph holds no operation that the host waits for, whose result is as large as numbers say, or that brings a number of
the host: a step of each, made unseen as it is recorded, may perform none. What a GPU records is run here as it is.
"""

from contextlib import nullcontext
from pathlib import Path

import pytest

from atlas_ref.config import RunConfig, load_config
from atlas_ref.training.graphed import PLAIN_STEPS, Recording, Recordings
from atlas_ref.training.run import new_run, open_data
from spec_tests.package.micro.curriculum import write_sets
from spec_tests.package.training.test_graphed_step import CPU, blind

SMALL = (
    "model.n_layers=1",
    "model.d_model=40",
    "train.batch_size=2",
    "train.micro_batches=1",
    "data.tokenizer='bytes'",
)
ATLAS = (
    *SMALL,
    "model.n_heads=2",
    "model.memory.value_dim=20",
    "model.feed_forward_dim=48",
    "model.attention.window=16",
    "data.sequence_length=128",
)
COGNATE = (*SMALL, "model.feed_forward_dim=48", "model.window=16", "data.sequence_length=72", "model.vocab_size=257")
SETS = (*COGNATE, "data.source='sets'", "data.context_batches=1", "data.validation_fraction=0.3")
EPISODES = ("data.source='episodes'", "data.sequence_length=128", "data.episodes.pieces=2", "data.episodes.length=32")
OWN = ("train.batch_size=2", "train.micro_batches=1")
"""Of presets that are small already."""
RECORDED: dict[str, tuple[str, tuple[str, ...]]] = {
    "text": ("shakespeare-10m", ATLAS),
    "text, atlas": ("atlas-340m", ATLAS),
    "text, two layers of a memory": ("shakespeare-10m", (*ATLAS, "model.memory.architecture='mlp'")),
    "text, atlas in shards": ("tnt-atlas", (*ATLAS, "model.memory.shards.length=64")),
    "text, a hierarchy": ("tnt-titans", (*OWN, "model.n_layers=1", "data.sequence_length=128")),
    "text, a hierarchy, m3": (
        "tnt-titans",
        (*OWN, "model.n_layers=1", "data.sequence_length=128", "model.memory.hierarchy.border='m3'"),
    ),
    "episodes": ("omega-micro", OWN),
    "episodes, large vocabulary": ("omega-shakespeare", (*ATLAS, *EPISODES, "data.tokenizer='bpe'")),
    "recall": ("recall", (*OWN, "model.n_layers=1")),
    "cognate, text": ("cognate-27m", COGNATE),
    "cognate, text, slots": ("cognate-memory", COGNATE),
    "cognate, sets": ("cognate-27m", SETS),
    "cognate, sets, slots": ("cognate-memory", SETS),
    "cognate, sets, a curriculum": ("cognate-curriculum", (*SETS, "data.curriculum.judged=0")),
    "cognate, recall": (
        "cognate-speed",
        (
            *COGNATE,
            "data.source='recall'",
            "data.recall.gap=20",
            "data.recall.keys=32",
            "data.recall.values=32",
            "model.vocab_size=72",
        ),
    ),
    "relay": ("relay", OWN),
    "relay, slots": ("relay", (*OWN, "model.ltm.kind='both'")),
    "sudoku": ("sudoku", (*OWN, "data.sudoku.blanks=4")),
}
"""Preset and what makes it small, and what is learned."""
LEFT = {
    "mac-tiny": "the host looks up where segments of model.block = 'mac' begin",
    "grok-mlp": "steps of this family of models have no recorded form",
    "grok-transformer": "steps of this family of models have no recorded form",
}
"""Presets of which no step is recorded, and what is said of them."""


def config_of(name: str, folder: Path) -> RunConfig:
    """Return the small run of an entry of RECORDED."""
    preset, changes = RECORDED[name]
    given = (*changes, f"data.path='{write_sets(folder)}'") if "data.source='sets'" in changes else changes
    # The last of two values for a field counts.
    return load_config(preset, [*{change.partition("=")[0]: change for change in given}.values()])


@pytest.mark.parametrize("name", RECORDED)
def test_a_step_that_is_recorded_asks_the_device_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a slot, a place or a weight that is looked up, counted or selected by a mask within a step; a number of
    the host in it; batches of sets whose shapes change."""
    config = config_of(name, tmp_path)
    run, source = new_run(config, CPU), open_data(config, None)
    recordings = Recordings(run.model, run.network, run.optimiser, run.state, config)
    replay, replayed = Recording.replay, list[int]()

    def asked_nothing(recording: Recording) -> None:
        # The first pass is made before a graph is: it fills tables of constants.
        with blind() if replayed else nullcontext():
            replay(recording)
        replayed.append(step)

    monkeypatch.setattr(Recording, "replay", asked_nothing)
    for step in range(PLAIN_STEPS + 2):
        batch = source.batch(step)
        recordings.expect(batch)
        recordings.work(batch, run.state, step, recordings.draws(batch, step))
    assert replayed == [PLAIN_STEPS, PLAIN_STEPS + 1], recordings.news()
    assert "recorded and replayed" in recordings.news()


@pytest.mark.parametrize("preset", LEFT)
def test_a_preset_whose_steps_are_not_recorded_says_why(preset: str) -> None:
    """Kills: a reason that is none, or that of another model."""
    config = load_config(preset, [])
    run = new_run(config, CPU)
    recordings = Recordings(run.model, run.network, run.optimiser, run.state, config)
    assert recordings.news() == f"steps are made as they are, not recorded: {LEFT[preset]}"
    assert recordings.news() == ""
