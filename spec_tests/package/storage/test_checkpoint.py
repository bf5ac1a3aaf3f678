"""Checkpoints: a stopped run goes on as if it had never stopped, and a bad file is named, never trusted.

Every test names the fault that was put into the program by hand and that it caught.
"""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from atlas_ref.config import KillSwitchesConfig, RunConfig
from atlas_ref.config.changes import CHANGEABLE
from atlas_ref.errors import UserError
from atlas_ref.storage.checkpoint import (
    MODEL,
    OPTIMISER,
    STATE,
    find_checkpoint,
    saved_steps,
)
from atlas_ref.storage.run_directory import RunDirectory
from spec_tests.package.micro.runs import (
    DROPOUT,
    RECALL,
    go_on,
    metric_lines,
    micro_config,
    saved_bytes,
    start,
    stop_before,
    without_timing,
)

MUON = ("optim.name='muon'", "train.seed=3")
MUGROKFAST = ("optim.name='mugrokfast'", "optim.average=0.9", "optim.mugrokfast.qk_clip=0.01", *DROPOUT)
BPE = ("data.tokenizer='bpe'", "data.bpe_vocab_size=300", "model.vocab_size=300")


def assert_same_run(expected: Path, found: Path) -> None:
    """Weights, optimiser and state are equal byte for byte, and so is the log except for the clock."""
    assert saved_bytes(found) == saved_bytes(expected)
    assert without_timing(metric_lines(found)) == without_timing(metric_lines(expected))


@pytest.mark.parametrize("stop_at", [2, 3, 4, 6])
def test_a_run_that_was_interrupted_and_resumed_equals_one_that_was_not(
    whole: Path, tmp_path: Path, stop_at: int
) -> None:
    """Kills: the state not restored; the optimiser's moments or step not restored; the batch of step 0 after resuming.

    Step 4 is a save, so at 4 the interruption finds its checkpoint there; 2, 3 and 6 lie between saves.
    """
    config = micro_config()
    outcome = start(config, tmp_path / "run", stop_before(stop_at))
    assert outcome.interrupted
    assert outcome.step == stop_at - 1
    go_on(config, tmp_path / "run")

    assert_same_run(whole, tmp_path / "run")


@pytest.mark.parametrize("overrides", [MUON, MUGROKFAST, RECALL, BPE], ids=["muon", "mugrokfast", "recall", "bpe"])
def test_resuming_is_exact_with_muon_and_for_every_kind_of_data(overrides: tuple[str, ...], tmp_path: Path) -> None:
    """Kills: Muon's momentum, the slow part of gradients or the average of weights left out of the checkpoint; a
    tokenizer that is not read back.
    """
    config = micro_config(*overrides)
    start(config, tmp_path / "whole")
    start(config, tmp_path / "parts", stop_before(3))
    go_on(config, tmp_path / "parts")

    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_a_branch_from_an_older_checkpoint_equals_the_run_it_left(whole: Path, tmp_path: Path) -> None:
    """Kills: a branch that starts with an empty log."""
    older = find_checkpoint(whole / "checkpoints" / "step-00000003")
    go_on(micro_config(), tmp_path / "branch", older)

    assert_same_run(whole, tmp_path / "branch")


def test_lines_after_the_resumed_step_are_dropped_from_the_log(copy: Path) -> None:
    """Kills: appending to the old log, which then holds steps twice; a half line left by a crash taken for damage."""
    shutil.rmtree(copy / "checkpoints" / "step-00000006")
    with (copy / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 7, "train/lo')
    go_on(micro_config(), copy)

    assert [line["step"] for line in metric_lines(copy)] == [1, 2, 3, 4, 6]


def test_training_draws_no_random_number(tmp_path: Path) -> None:
    """Kills: a call of torch.rand in the step: then there would be a generator to save."""
    config = micro_config()
    start(config, tmp_path / "parts", stop_before(3))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    go_on(config, tmp_path / "parts")
    start(config, tmp_path / "again", stop_before(3))
    torch.manual_seed(2)
    go_on(config, tmp_path / "again")

    assert saved_bytes(tmp_path / "parts") == saved_bytes(tmp_path / "again")
    assert before.numel() > 0


@pytest.mark.parametrize(
    ("override", "name"),
    [
        ("optim.learning_rate=0.003", "optim.learning_rate"),
        ("train.seed=5", "train.seed"),
        ("train.batch_size=4", "train.batch_size"),
        ("model.n_layers=1", "model.n_layers"),
    ],
)
def test_a_resumed_run_keeps_its_config_and_so_does_a_branch(
    copy: Path, tmp_path: Path, override: str, name: str
) -> None:
    """Kills: no comparison with the config of the checkpoint, or of the directory: another seed or rate goes on."""
    for path in (copy, tmp_path / "branch"):
        with pytest.raises(UserError, match=f"cannot change {name} from"):
            go_on(micro_config(override), path, find_checkpoint(copy))


def test_a_resumed_run_may_change_its_length_and_its_intervals(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: an empty list of changeable fields."""
    changes: dict[str, object] = {"max_steps": 8, "log_interval": 5, "eval_interval": 7, "save_interval": 4}
    changes |= {"threads": 2, "graph": "'off'", "keep_last": 9, "micro_batches": 2, "parallel": "'fsdp'"}
    switches = {f"kill_switches.{name}" for name in KillSwitchesConfig.model_fields}
    more = {"data.path", "train.device", "train.keep_best", "train.tensorboard", "train.wandb"}
    more |= {"optim.schedule", "optim.decay_steps", "data.curriculum.judged", "train.best", "train.patience"}
    more |= {f"stage2.{name}" for name in ("steps", "chunks", "rate", "trainable")}
    more |= {"train.sample_interval", "train.sample_prompt", "train.sample_tokens"}
    assert {f"train.{name}" for name in changes} | more | switches == set(CHANGEABLE)
    overrides = [*(f"train.{name}={value}" for name, value in changes.items()), "kill_switches.gate_patience=7"]
    overrides += ["train.keep_best=false"]
    # More threads than one take seconds for tensors as small as these.
    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    outcome = go_on(micro_config(*overrides), copy)

    assert outcome.step == 8
    assert threads == [2]
    assert list(saved_steps(copy / "checkpoints")) == [3, 6, 8]
    assert "max_steps = 8" in (copy / "config.toml").read_text()


def test_a_checkpoint_of_another_run_is_refused_in_this_directory(copy: Path, tmp_path: Path) -> None:
    """Kills: the config.toml of the directory not read on resume."""
    other = tmp_path / "other"
    config = micro_config("train.seed=9", "train.max_steps=7")
    start(config, other)
    shutil.copytree(other / "checkpoints" / "step-00000007", copy / "checkpoints" / "step-00000007")

    with pytest.raises(UserError, match=r"config\.toml: .* train\.seed"):
        go_on(config, copy)


def test_newer_checkpoints_are_never_overwritten(copy: Path) -> None:
    """Kills: resuming from step 3 in place, which would replace step 6."""
    older = find_checkpoint(copy / "checkpoints" / "step-00000003")
    with pytest.raises(UserError, match="holds checkpoints after step-00000003, up to step-00000006"):
        go_on(micro_config(), copy, older)


def test_a_crash_while_saving_leaves_the_checkpoints_before_it(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: writing straight into step-00000008, which then looks complete with one file missing."""
    config = micro_config("train.max_steps=8")

    def fail_at_state(tensors: dict[str, torch.Tensor], file: Path) -> None:
        if file.name == STATE:
            raise OSError(28, "No space left on device", str(file))
        save_file(tensors, file)

    monkeypatch.setattr("atlas_ref.storage.checkpoint.save_file", fail_at_state)
    with pytest.raises(OSError, match="No space left"):
        go_on(config, copy)
    monkeypatch.undo()
    assert list(saved_steps(copy / "checkpoints")) == [3, 6]
    assert find_checkpoint(copy).step == 6
    assert go_on(config, copy).step == 8
    assert list(saved_steps(copy / "checkpoints")) == [3, 6, 8]
    assert not [path.name for path in (copy / "checkpoints").iterdir() if path.name.startswith(".")]


def test_the_latest_file_a_checkpoint_and_a_run_directory_all_lead_to_a_checkpoint(whole: Path) -> None:
    """Kills: taking the first checkpoint of a directory instead of the newest."""
    newest = whole / "checkpoints" / "step-00000006"
    for path in (whole, newest, whole / "checkpoints" / "latest"):
        assert find_checkpoint(path).path == newest
    assert find_checkpoint(newest.with_name("step-00000003")).step == 3


def test_a_place_without_checkpoint_is_named(tmp_path: Path) -> None:
    """Kills: an IndexError from an empty list of steps."""
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match=str(path)):
            find_checkpoint(path)


def test_a_directory_that_holds_something_is_never_trained_into(whole: Path, tmp_path: Path) -> None:
    """Kills: mkdir(exist_ok=True) and nothing more."""
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds notes\.txt"):
        start(micro_config(), tmp_path)
    with pytest.raises(UserError, match="already holds a run"):
        start(micro_config(), whole)
    assert RunDirectory(whole).newest_checkpoint() is not None


def test_a_checkpoint_says_what_it_was_made_from(whole: Path) -> None:
    """Kills: a step or config in the description that is not the one trained; an optimiser without its moments."""
    found = find_checkpoint(whole)
    config: RunConfig = micro_config()
    assert (found.step, found.config) == (6, config)
    optimiser = found.tensors(OPTIMISER)
    # The initial memory learns only where a row starts afresh, here at step 1; everything else at every step.
    steps = {name: float(value) for name, value in optimiser.items() if ".step." in name and ".initial." not in name}
    assert set(steps.values()) == {6.0}
    weights = found.tensors(MODEL)
    assert {f"adamw.exp_avg.{name}" for name in weights} == {name for name in optimiser if ".exp_avg." in name}
