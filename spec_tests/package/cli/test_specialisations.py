"""`atlas train --all-specialisations`: three runs in turn, each in its own place, and a table of how they behave.

Every test names the fault that was put into the program by hand and that it caught.
"""

import re
from pathlib import Path

import pytest

from atlas_ref.config import load_config
from atlas_ref.config.cognate import CognateConfig
from atlas_ref.config.specialisations import SPECIALISATIONS
from spec_tests.package.micro.command import Atlas
from spec_tests.package.micro.runs import UNEXAMINED
from spec_tests.package.micro.specialisations import SMALL

ALL = "--all-specialisations"
CELL = r"-?[\d.]+ \(-?[\d.]+ to -?[\d.]+\)"


def test_all_three_are_trained_and_compared(atlas: Atlas, tmp_path: Path) -> None:
    """Kills: one run directory for all; the preset of the first for every run; a table that leaves one out; a measure
    without an interval."""
    options = [word for override in SMALL for word in ("--set", override)]
    ended = atlas("train", ALL, "--out", tmp_path / "three", *UNEXAMINED, *options)
    assert (ended.code, ended.err) == (0, "")
    for name in SPECIALISATIONS:
        made = load_config(str(tmp_path / "three" / name / "config.toml")).any_model
        named = load_config(name).any_model
        assert isinstance(made, CognateConfig)
        assert isinstance(named, CognateConfig)
        assert made.halting == named.halting
        assert (made.ltm.slots, made.ltm.surprise) == (named.ltm.slots, named.ltm.surprise)
        assert re.search(rf"^{name} +({CELL} +){{3}}{CELL}", ended.out, re.MULTILINE), ended.out
    assert re.search(r"^slots: (all|not) told apart", ended.out, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--config", "tiny"), "leave out --config tiny"),
        (("--resume", "auto"), "go on with one by --config NAME --out DIR --resume auto, without it"),
        (("--set", "model.ltm.slots=9"), "model.ltm.slots is what the specialisations differ in"),
        (("--set", "model.halting.threshold=0.5"), "model.halting.threshold is what the specialisations differ in"),
    ],
)
def test_what_does_not_go_with_all_is_refused(
    arguments: tuple[str, ...], words: str, atlas: Atlas, tmp_path: Path
) -> None:
    """Kills: a config that is read for none of them; three runs that are alike; a resumed run of another."""
    ended = atlas("train", ALL, "--out", tmp_path / "three", *UNEXAMINED, *arguments)
    assert ended.code == 2
    assert words in " ".join(ended.err.split())
    assert len(ended.err.strip().splitlines()) == 1
    assert not (tmp_path / "three").exists()


def test_a_place_that_is_taken_is_named_before_anything_is_trained(atlas: Atlas, tmp_path: Path) -> None:
    """Kills: two runs that are trained before the third is found to have no place."""
    (tmp_path / SPECIALISATIONS[2]).mkdir()
    ended = atlas("train", ALL, "--out", tmp_path, *UNEXAMINED)
    assert (ended.code, f"{tmp_path / SPECIALISATIONS[2]} exists" in ended.err) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == [SPECIALISATIONS[2]]
