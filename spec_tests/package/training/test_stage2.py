"""Two stages of training: the border, what learns behind it, and that a run goes on over it as if it had not stopped.

Every test names the fault that was put into the program by hand and that it caught.
"""

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from atlas_ref.config import RunConfig
from atlas_ref.data.streams import open_source
from atlas_ref.errors import UserError
from atlas_ref.models.atlas import AtlasModel
from atlas_ref.storage.checkpoint import MODEL, OPTIMISER, STATE, find_checkpoint, saved_steps
from atlas_ref.training.evaluate import evaluate
from atlas_ref.training.optimiser import build_optimiser
from atlas_ref.training.schedule import learning_rate
from atlas_ref.training.step import forward, train_step
from cli.checkpoints import chunk_line, open_model
from cli.evaluate import judged
from spec_tests.package.micro.curriculum import write_sets
from spec_tests.package.micro.runs import (
    Listener,
    go_on,
    metric_lines,
    micro_config,
    saved_bytes,
    start,
    stop_before,
    without_timing,
)

STAGES = (
    "stage2.steps=4",
    "stage2.chunks=[2]",
    "stage2.rate=0.25",
    "train.log_interval=1",
    "train.save_interval=2",
    "train.keep_last=9",
)
HIERARCHY = (
    "model.memory.kind='hierarchical'",
    "model.memory.hierarchy.local_chunks=[4]",
    "model.memory.hierarchy.local_shards=[16]",
)
LOCAL = (*HIERARCHY, *STAGES, "stage2.trainable='local'")


def two_stages(*overrides: str) -> RunConfig:
    """Return a run of six steps in chunks of 8 and four in chunks of 2."""
    return micro_config(*STAGES, *overrides)


@pytest.fixture(scope="module")
def listener() -> Listener:
    return Listener()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, listener: Listener) -> Path:
    """Return the directory of a run of two stages, of which `listener` was told."""
    path = tmp_path_factory.mktemp("stages") / "run"
    start(two_stages(), path, reporter=listener)
    return path


def weights(path: Path) -> dict[str, torch.Tensor]:
    return dict(find_checkpoint(path).tensors(MODEL))


def checkpoint_of(run: Path, step: int) -> Path:
    """Return where a run keeps the checkpoint of a step."""
    return saved_steps(run / "checkpoints")[step]


def test_the_second_stage_is_the_same_weights_moments_and_states_in_finer_chunks(tmp_path: Path, trained: Path) -> None:
    """Beside steps made by hand, with a model that was built in the finer chunks. Kills: chunks that stay; steps of
    `mass` by the finer chunk; moments or states that begin anew; a rate of its own peak; a border one step late.
    """
    config = two_stages()
    start(micro_config(), tmp_path / "one")
    first = find_checkpoint(tmp_path / "one")
    finer = micro_config("model.memory.chunk=2", "model.memory.step_chunk=8")
    model = AtlasModel(finer.model, seed=5)
    model.load_state_dict(dict(first.tensors(MODEL)))
    optimiser, source = build_optimiser(model, config.optim), open_source(config)
    optimiser.from_tensors(first.tensors(OPTIMISER))
    state = model.initial_state(2).from_tensors(first.tensors(STATE))
    for step in range(6, 10):
        assert learning_rate(step, config) == 0.25 * config.optim.learning_rate
        state = train_step(model, optimiser, source.batch(step), state, step, config).output.state
    for name, found in weights(trained).items():
        assert torch.equal(found, model.state_dict()[name]), name


def test_a_run_that_stops_near_the_border_goes_on_bit_for_bit(tmp_path: Path) -> None:
    """Before it, at it and behind it: weights, moments, states and the log. Kills: a border at which the process began;
    moments of what no longer learns; a second stage that a resumed run forgets.
    """
    config, cuts = micro_config(*LOCAL), (6, 7, 9)
    start(config, tmp_path / "whole")
    start(config, tmp_path / "cut", stop_before(cuts[0]))
    for before, cut in pairwise(cuts):
        assert go_on(config, tmp_path / "cut", stop=stop_before(cut - before + 1)).step == cut - 1
    assert go_on(config, tmp_path / "cut").step == 10
    assert saved_bytes(tmp_path / "cut") == saved_bytes(tmp_path / "whole")
    lines = [without_timing(metric_lines(tmp_path / name)) for name in ("whole", "cut")]
    assert lines[0] == lines[1]
    assert [line["train/stage"] for line in lines[0] if "train/stage" in line] == [1.0] * 6 + [2.0] * 4


def test_a_second_stage_behind_a_curriculum_goes_on_bit_for_bit_at_every_border(tmp_path: Path) -> None:
    """The last stage of the curriculum begins with the second stage of training. Kills: a border of the one that hides
    that of the other; a model made anew that reads the sets of the stage before; one that is made anew at each border.
    """
    write_sets(tmp_path / "sets")
    sets = ("data.source='sets'", f"data.path='{tmp_path / 'sets'}'", "data.tokenizer='bytes'", "model.vocab_size=257")
    plan = ("epoch_steps=3", "reasoning_epoch=2", "advanced_epoch=3", "judged=0")
    config = two_stages(*sets, *(f"data.curriculum.{field}" for field in plan))
    told = Listener()
    start(config, tmp_path / "whole", reporter=told)
    start(config, tmp_path / "cut", stop_before(4))
    assert go_on(config, tmp_path / "cut", stop=stop_before(4)).step == 6
    assert go_on(config, tmp_path / "cut").step == 10
    assert saved_bytes(tmp_path / "cut") == saved_bytes(tmp_path / "whole")
    lines = [without_timing(metric_lines(tmp_path / name)) for name in ("whole", "cut")]
    assert lines[0] == lines[1]
    borders = [
        (line.get("train/stage"), line.get("train/curriculum_stage")) for line in lines[0] if "train/loss" in line
    ]
    assert borders == [(1.0, 1.0)] * 3 + [(1.0, 2.0)] * 3 + [(2.0, 3.0)] * 4
    for begins in ("stage 2 from step 7 to 10", "curriculum: stage 3, advanced, from step 7 (epoch 3)"):
        assert any(line.startswith(begins) for line in told.said), told.said


def test_of_a_hierarchy_only_starts_and_gates_of_local_memories_learn(tmp_path: Path) -> None:
    """Kills: W_init of the global memory among them; gates left out; everything that learns."""
    config = micro_config(*LOCAL)
    start(config, tmp_path / "run", stop_before(7))
    before = weights(tmp_path / "run")
    go_on(config, tmp_path / "run")
    moved = {name for name, tensor in weights(tmp_path / "run").items() if not torch.equal(tensor, before[name])}
    own = {name for name in before if ".memory.gates.1." in name or ".memory.initial.1." in name}
    assert len(own) == 2 * 3
    assert moved == own


def test_the_border_is_said_and_the_rate_is_logged(trained: Path, listener: Listener) -> None:
    """Kills: a border that nobody is told of; a schedule that goes on."""
    config = two_stages()
    rate = 0.25 * config.optim.learning_rate
    said = f"stage 2 from step 7 to 10: chunks of 2 tokens in place of 8, learning rate {rate:.4g}, trainable: all"
    assert said in listener.said
    lines = {line["step"]: line for line in metric_lines(trained)}
    assert [lines[step]["train/lr"] for step in range(7, 11)] == [rate] * 4
    assert lines[10]["val/loss"] > 0.0


def test_a_checkpoint_is_served_in_the_chunks_of_its_stage(trained: Path) -> None:
    """Kills: a model of the second stage that is evaluated in the chunks of the first; steps by the finer chunk."""
    checkpoint = find_checkpoint(trained)
    opened, other = open_model(checkpoint.path, []), open_model(checkpoint.path, [], chunk=8)
    assert (opened.served.model.memory.chunk, opened.served.model.memory.step_chunk) == (2, 8)
    assert (other.served.model.memory.chunk, other.served.model.memory.step_chunk) == (8, 8)
    assert chunk_line(opened) is None
    assert chunk_line(other) == "served in chunks of 8 tokens, trained in chunks of 2"
    at_border = open_model(checkpoint_of(trained, 6), [])
    assert at_border.served.model.memory.chunk == 8
    batch = open_source(opened.config).batch(0)
    logits = [forward(x.model, batch, x.model.initial_state(2), "fp32").logits for x in (opened, other)]
    assert (logits[0] - logits[1]).abs().max() > 1e-4


def test_a_checkpoint_of_the_second_stage_is_judged_on_the_validation_of_training(trained: Path) -> None:
    """Kills: text that is laid out on the grid of the finer chunks, on which no step of either stage was."""
    opened = open_model(find_checkpoint(trained).path, [])
    task, source, most = judged(opened, [], "validation")
    found = evaluate(opened.model, task, source, most, "fp32", opened.checkpoint.step)
    assert found["loss"] == pytest.approx(metric_lines(trained)[-1]["val/loss"], rel=1e-6)


def test_a_run_of_one_stage_may_be_given_a_second_and_one_that_has_begun_it_keeps_it(
    tmp_path: Path, trained: Path
) -> None:
    """Kills: another second stage under weights of this one; a border that moves behind a run."""
    start(micro_config("train.log_interval=1", "train.save_interval=2"), tmp_path / "run")
    config = two_stages()
    assert go_on(config, tmp_path / "run").step == 10
    assert saved_bytes(tmp_path / "run") == saved_bytes(trained)
    for change, reason in (
        (
            "stage2.chunks=[4]",
            r"has begun its second stage, in which stage2.chunks cannot change from \(2,\) to \(4,\)",
        ),
        ("train.max_steps=8", "has begun its second stage, in which train.max_steps cannot change from 6 to 8"),
        ("stage2.steps=2", "is past the last step of the second stage, which is 8"),
    ):
        with pytest.raises(UserError, match=reason):
            go_on(two_stages(change), tmp_path / "run")
    border = find_checkpoint(checkpoint_of(trained, 6))
    with pytest.raises(UserError, match=r"is past train\.max_steps, which is 5"):
        go_on(two_stages("train.max_steps=5"), tmp_path / "other", border)


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (("stage2.chunks=[2]",), r"stage2.chunks is \[2\]; it must be \[\] for stage2.steps = 0"),
        (("stage2.steps=2",), r"stage2.chunks has 0 entries; it must have 1, one for each of the chunks \[8\]"),
        (("stage2.steps=2", "stage2.chunks=[8]"), "stage2.chunks has 8; it must be less than the chunk of the first"),
        (("stage2.steps=2", "stage2.chunks=[0]"), "stage2.chunks"),
        (("stage2.steps=2", "stage2.chunks=[2]", "stage2.rate=0.0"), "stage2.rate"),
        (
            ("stage2.steps=2", "stage2.chunks=[2]", "stage2.trainable='local'"),
            'stage2.trainable is "local"; it must be "all" for model.memory.kind = "single"',
        ),
        (
            (*LOCAL, "optim.name='mugrokfast'"),
            'stage2.trainable is "local"; it must be "all" for optim.name = "mugrokfast"',
        ),
        (
            ("stage2.steps=2", "stage2.chunks=[2]", "model.disable_memory=true"),
            "stage2.steps is 2; it must be 0 for model.disable_memory = true",
        ),
        (
            ("stage2.steps=2", "stage2.chunks=[3]", "model.memory.shards.length=16"),
            r"stage2.chunks is \[3\]; with it model.memory.shards.length is 16; it must be a multiple",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(overrides: tuple[str, ...], reason: str) -> None:
    """Kills: each of the sentences, left out."""
    with pytest.raises(UserError, match=reason) as caught:
        micro_config(*overrides)
    assert len(str(caught.value).splitlines()) == 1
