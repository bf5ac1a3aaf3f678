"""Divergence is noticed from the first step on, without a history, and is never the end of a run that is called done.

Every test names the fault that was put into the program by hand and that it caught.
"""

import json
import math
from functools import cache
from pathlib import Path

import pytest
import torch

from atlas_ref.config import RunConfig, load_config, preset_names
from atlas_ref.config.model import ModelConfig
from atlas_ref.config.run import AnyModelConfig
from atlas_ref.models.registry import build_model
from atlas_ref.storage.checkpoint import saved_steps
from atlas_ref.storage.switch_state import SwitchState
from atlas_ref.training.run import Run
from atlas_ref.watching.kill_report import KilledError
from atlas_ref.watching.kill_switches import Kill, check, unsound_end
from spec_tests.package.micro.command import Atlas
from spec_tests.package.micro.runs import UNEXAMINED, go_on, micro_config, micro_file, start

GUESS = math.log(257)
"""Loss of a uniform guess among the bytes and the separator of documents."""


def config(margin: float = 1.0, patience: int = 3, window: int = 1000) -> RunConfig:
    """Return a config whose spikes have no reference in so few steps."""
    switches = {"loss_spike_window": window, "divergence_margin": margin, "divergence_patience": patience}
    return load_config("tiny", [f"kill_switches.{name}={value}" for name, value in switches.items()])


def watched(losses: list[float], plan: RunConfig) -> tuple[SwitchState, list[Kill]]:
    """Return the state after a run with these losses, and all that fired."""
    found = SwitchState()
    kills: list[Kill] = []
    for step, loss in enumerate(losses, start=1):
        found, fired = check(found, step, {"loss": loss}, [], plan)
        kills += fired
    return found, kills


@pytest.mark.parametrize("first", [3.0, GUESS, 9.0])
def test_a_loss_may_be_above_a_guess_and_above_the_first_for_less_than_the_patience(first: float) -> None:
    """Kills: a bound from the guess alone, which a large initial spread crosses; one from the first loss alone; a
    streak that a healthy step does not end; a first loss that is the last one."""
    bound = max(GUESS, first) + 1.0
    inside, outside = bound - 1e-6, bound + 1e-6
    _, kills = watched([first, outside, outside, inside, outside, inside, outside, outside, 800.0, 900.0], config())

    assert [(kill.switch, kill.layer, kill.since, kill.step) for kill in kills] == [
        ("divergence", None, 7, 9),
        ("divergence", None, 7, 10),
    ]
    assert kills[0].high == pytest.approx(bound)
    assert kills[0].sentence() == (
        f"kill switch divergence at step 9: loss is 800, above {bound:.4g}, since step 7 (patience 3)"
    )


def test_a_loss_that_diverges_is_no_reference_for_spikes() -> None:
    """Kills: losses of thousands in the reference, by which a loss of hundreds later is no spike."""
    state, _ = watched([5.0, 4.0, 2000.0, 2000.0, 4.5], config(window=3))
    assert state.losses == (5.0, 4.0, 4.5)


@pytest.mark.parametrize(
    ("losses", "since"),
    [([5.5, 3.0, 9.0], 3), ([3.0, 2.0, 4.1], 3), ([9.0, 9.5, 6.6], 3), ([5.5, 7.0, 8.0], 2)],
)
def test_a_run_must_not_end_worse_than_it_began_nor_than_a_guess(losses: list[float], since: int) -> None:
    """Kills: a patience at the last step too; a loss far above the first that is below a guess, or the other way."""
    state, kills = watched(losses, config())
    assert not kills
    kill = unsound_end(state, 3, config())
    assert kill is not None
    assert (kill.switch, kill.value, kill.since, kill.step, kill.patience) == ("divergence", losses[-1], since, 3, 1)
    assert kill.high == pytest.approx(min(GUESS, losses[0]) + 1.0)


def test_a_run_that_ends_where_it_began_is_sound() -> None:
    """Kills: a margin that is forgotten; an end that is asked of the worst loss and not of the last one."""
    for losses in ([5.6], [6.1, 6.2], [5.5, 700.0, 6.4]):
        assert unsound_end(watched(losses, config())[0], len(losses), config()) is None


DIVERGING = (
    "optim.learning_rate=10",
    "optim.weight_decay=0",
    "optim.warmup_steps=0",
    "data.sequence_length=16",
    "train.eval_interval=1000",
)


def test_a_run_that_diverges_at_once_is_stopped_when_the_patience_is_over(tmp_path: Path, atlas: Atlas) -> None:
    """Kills: "done" and exit code 0 for a run that went from 5.5 to hundreds in its first steps and stayed there."""
    ended = atlas(
        "train",
        "--config",
        micro_file(tmp_path / "d.toml", *DIVERGING),
        "--max-steps",
        60,
        "--out",
        tmp_path / "run",
        *UNEXAMINED,
    )

    assert (ended.code, "done" in ended.out) == (4, False)
    assert "Error: kill switch divergence at step 21: loss is " in ended.err
    assert "above 6." in ended.err
    assert "since step 2 (patience 20)" in ended.err
    assert "guesses uniformly" in ended.err
    assert len(ended.err.splitlines()) == 1


def test_a_run_that_ends_inside_the_patience_is_not_done_either(tmp_path: Path, atlas: Atlas) -> None:
    """Kills: a patience that the end of the run cuts short, in this start, and in one with nothing left to train."""
    path = tmp_path / "run"
    first = atlas(
        "train", "--config", micro_file(tmp_path / "d.toml", *DIVERGING), "--max-steps", 4, "--out", path, *UNEXAMINED
    )
    again = atlas("train", "--resume", "auto", "--out", path)

    for ended in (first, again):
        assert (ended.code, "done" in ended.out) == (4, False), ended
        assert "Error: kill switch divergence at step 4: loss is " in ended.err
        assert "since step 2 (patience 1)" in ended.err
    assert not (path / "summary.json").exists()
    assert json.loads((path / "kill.json").read_text())["kills"][0]["switch"] == "divergence"
    assert list(saved_steps(path / "checkpoints")) == [3, 4]


def test_a_resumed_run_remembers_its_first_loss(runs: list[Run], tmp_path: Path) -> None:
    """Kills: a first loss that begins again with each start, so that a run that diverged is its own measure."""
    plan = micro_config(*DIVERGING, "kill_switches.divergence_patience=5", "train.save_interval=2")
    with pytest.raises(KilledError, match=r"at step 6: loss .* since step 2 "):
        start(plan, tmp_path / "whole")
    assert start(plan, tmp_path / "parts", lambda: runs[-1].step == 4).interrupted
    with pytest.raises(KilledError, match=r"at step 6: loss .* since step 2 "):
        go_on(plan, tmp_path / "parts")
    whole, parts = (json.loads((tmp_path / name / "kill.json").read_text())["kills"] for name in ("whole", "parts"))
    assert parts == whole


@cache
def cost_of_the_start(config: AnyModelConfig, length: int) -> float:
    """Return the loss of a fresh model above ln V, in nats: the mean over all targets, of which each is as likely."""
    model, size = build_model(config, seed=0), config.vocab_size
    tokens = torch.randint(size, (4, length), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = model(tokens, model.initial_state(len(tokens)), None).logits
    return float((logits.logsumexp(-1) - logits.mean(-1)).mean()) - math.log(size)


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_begins_inside_its_bound_and_can_leave_it_within_its_run(preset: str) -> None:
    """Kills: a margin below what the initial weights cost; a patience as long as the run.

    Logits of a fresh ATLAS model are about normal with a variance of init_std^2 d_model, which costs half of that in
    nats. Those of the other family come out of a recursion, and what they cost is measured."""
    plan = load_config(preset)
    margin = plan.kill_switches.divergence_margin
    if isinstance(plan.any_model, ModelConfig):
        above = plan.model.init_std**2 * plan.model.d_model / 2
        assert 0.3 < above < 0.6 < margin
    else:
        # A pair is all that arithmetic reads. Where all logits are equal the cost is 0, but for rounding.
        length = 2 if plan.data.source == "arithmetic" else 8
        assert -1e-5 < cost_of_the_start(plan.any_model, length) < margin
    assert plan.kill_switches.divergence_patience <= plan.train.max_steps / 2
