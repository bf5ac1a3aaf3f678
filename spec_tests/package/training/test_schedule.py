"""Schedules: each is its closed form, a longer run is no surprise, and what does not depend on the end does not.

Every test names the fault that was put into the program by hand and that it caught.
"""

import math
import re
from pathlib import Path

import pytest

from atlas_ref.config import RunConfig, load_config, preset_names
from atlas_ref.training.schedule import SCHEDULES, change_of_plan, learning_rate
from spec_tests.package.micro.command import Atlas
from spec_tests.package.micro.runs import (
    UNEXAMINED,
    metric_lines,
    micro_config,
    micro_file,
    saved_bytes,
    start,
    without_timing,
)

PLAN = ("optim.learning_rate=0.8", "optim.min_learning_rate=0.2", "optim.warmup_steps=4", "optim.decay_steps=3")


def plan(schedule: str, steps: int, *more: str) -> RunConfig:
    """Return a config whose rates are easy to write down: warm-up to 0.8 in 4 steps, 0.2 at the end."""
    return micro_config(*PLAN, f"optim.schedule={schedule}", f"train.max_steps={steps}", *more)


def rates(config: RunConfig, steps: int) -> list[float]:
    return [learning_rate(step, config) for step in range(steps)]


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_every_schedule_warms_up_in_a_straight_line_that_does_not_begin_at_zero(schedule: str) -> None:
    """Kills: a warm-up that starts at zero, or that one of the schedules does without."""
    assert rates(plan(schedule, 12), 4) == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert learning_rate(0, plan(schedule, 12, "optim.warmup_steps=0")) == 0.8


def test_cosine_is_half_a_turn_from_the_warm_up_to_the_end() -> None:
    """Kills: a cosine over max_steps instead of the steps that are left; no floor."""
    turned = [0.2 + 0.6 * math.cos(math.pi * n / 16) ** 2 for n in range(8)]  # (1 + cos x) / 2 = cos^2(x / 2)
    assert rates(plan("cosine", 12), 15)[4:] == pytest.approx([*turned, 0.2, 0.2, 0.2])


def test_constant_is_the_peak_whatever_the_end() -> None:
    """Kills: the floor of the cosine as a floor of everything; a rate that falls at max_steps."""
    assert rates(plan("constant", 12), 40)[4:] == [0.8] * 36
    assert rates(plan("constant", 12), 40) == rates(plan("constant", 40), 40)


def test_wsd_is_the_peak_and_then_a_straight_line_over_its_last_steps() -> None:
    """Kills: a decay that is counted from the warm-up; one that ends a step early; one that falls below the floor."""
    assert rates(plan("wsd", 12), 15)[4:] == pytest.approx([0.8] * 5 + [0.8, 0.6, 0.4, 0.2, 0.2, 0.2])
    crowded = rates(plan("wsd", 6, "optim.decay_steps=9"), 8)
    assert crowded == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.5, 0.2, 0.2])
    assert rates(plan("wsd", 4), 6) == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.2, 0.2])


def test_wsd_does_not_depend_on_the_end_before_its_decay() -> None:
    """Kills: a decay in proportion to the length of the run."""
    short, long = rates(plan("wsd", 12), 9), rates(plan("wsd", 500), 9)
    assert short == long


@pytest.mark.parametrize("preset", preset_names())
def test_presets_keep_the_cosine(preset: str) -> None:
    """Kills: a preset whose stored losses no longer belong to it. What groks does so at a rate that stays."""
    assert load_config(preset).optim.schedule == ("constant" if preset.startswith("grok-") else "cosine")


def test_a_longer_run_says_both_rates_and_the_course_in_one_line() -> None:
    """Kills: the rate of the last step in place of the next one's; old and new exchanged; a step that is 0-based."""
    line = change_of_plan(12, plan("cosine", 12), plan("cosine", 24))
    assert 0.2 + 0.6 * math.cos(math.pi * 8 / 40) ** 2 == pytest.approx(0.5927, abs=5e-5)
    assert line == (
        "train.max_steps changes from 12 to 24: step 13 has the learning rate 0.5927 where it would have had 0.2; "
        "from there the learning rate follows a cosine down towards 0.2 at step 24"
    )


@pytest.mark.parametrize(
    ("step", "old", "new", "words"),
    [
        (9, plan("constant", 10), plan("constant", 20), "the learning rate 0.8 as before; .* is constant$"),
        (8, plan("wsd", 12), plan("wsd", 20), "0.8 as before; .* is constant to step 17 and then .* 0.2 at step 20$"),
        (11, plan("wsd", 12), plan("wsd", 20), "0.8 where it would have had 0.4; .* is constant to step 17 and then"),
        (18, plan("wsd", 20), plan("wsd", 19), "0.4 where it would have had 0.6; .* a straight line down towards 0.2"),
        (1, plan("cosine", 9), plan("cosine", 7), "0.4 as before; .* rises to 0.8 at step 4 and then follows a cosine"),
        (9, plan("constant", 12), plan("wsd", 12), "^optim.schedule changes from constant to wsd: step 10 has"),
        (
            9,
            plan("wsd", 12),
            plan("wsd", 12, "optim.decay_steps=8"),
            "^optim.decay_steps changes from 3 to 8: .* 0.425",
        ),
        (
            3,
            plan("constant", 5, "optim.polarisation_start=1.0", "optim.polarisation_end=0.0001"),
            plan("constant", 9, "optim.polarisation_start=1.0", "optim.polarisation_end=0.0001"),
            "the weight of polarisation 0.03162 where it would have had 0.001; from there",
        ),
    ],
)
def test_any_change_of_plan_is_said(step: int, old: RunConfig, new: RunConfig, words: str) -> None:
    """Kills: a line for a longer run only; a jump back to the peak of wsd, or of the polarisation, unsaid."""
    line = change_of_plan(step, old, new)
    assert line is not None
    assert re.search(words, line), line


def test_the_same_plan_needs_no_words() -> None:
    """Kills: a line at every resume, which nobody reads any more."""
    assert change_of_plan(3, plan("cosine", 12), plan("cosine", 12, "train.log_interval=7")) is None


@pytest.mark.parametrize("schedule", ["constant", "wsd"])
def test_a_run_made_longer_before_its_decay_is_bit_for_bit_the_long_one(
    schedule: str, tmp_path: Path, atlas: Atlas
) -> None:
    """Kills: a rate that depends on the length of the run; a schedule that a resumed run forgets."""
    options = [f"optim.schedule={schedule}", "optim.decay_steps=2", "train.save_interval=2", "train.eval_interval=2"]
    start(micro_config(*options), tmp_path / "whole")
    config, path = micro_file(tmp_path / "config.toml", *options), tmp_path / "run"
    begun = atlas("train", "--config", config, "--max-steps", 4, "--out", path, *UNEXAMINED)
    assert begun.code == 0, begun.err
    # The decay of the short run begins after its second step: there it is still the long one.
    at = path / "checkpoints" / ("step-00000004" if schedule == "constant" else "step-00000002")
    ended = atlas("train", "--resume", at, "--max-steps", 6, "--out", tmp_path / "long", *UNEXAMINED)

    assert ended.code == 0, ended.err
    assert "the learning rate 0.002 as before; from there the learning rate is constant" in ended.out
    assert saved_bytes(tmp_path / "long") == saved_bytes(tmp_path / "whole")
    assert without_timing(metric_lines(tmp_path / "long")) == without_timing(metric_lines(tmp_path / "whole"))


def test_a_cosine_made_longer_jumps_and_says_so(tmp_path: Path, atlas: Atlas) -> None:
    """Kills: a jump of the learning rate that is only in the log; the words for a run that goes on as it was."""
    start(micro_config("train.max_steps=4"), tmp_path / "run")
    same = atlas("train", "--resume", tmp_path / "run")
    longer = atlas("train", "--resume", tmp_path / "run", "--max-steps", 8)

    assert (same.code, longer.code) == (0, 0), longer.err
    assert "learning rate" not in same.out
    (line,) = [line for line in longer.out.splitlines() if "learning rate" in line]
    assert line.startswith("train.max_steps changes from 4 to 8: step 5 has the learning rate 0.00155 where it would ")
    assert line.endswith("had 0.0002; from there the learning rate follows a cosine down towards 0.0002 at step 8")
    logged = {line["step"]: line["train/lr"] for line in metric_lines(tmp_path / "run") if "train/lr" in line}
    assert logged[6] == pytest.approx(0.0002 + 0.0018 * math.cos(math.pi * 3 / 12) ** 2)
