"""`atlas runs` in terminals of any width, in a pipe, and with names that no terminal should be sent.

Every test names the fault that was put into the program by hand and that it caught.
"""

import json
import os
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest
from rich.cells import cell_len

from atlas_ref.config import to_toml
from cli.main import main
from cli.run_table import layout, middle_cut
from spec_tests.package.micro.command import Atlas
from spec_tests.package.micro.runs import SKIPPED, micro_config

LONG = "ablation-of-the-memory-with-a-name-that-no-terminal-holds-7"
EVERY = ["run", "status", "steps", "parameters", "memory", "seed", "train loss", "val loss", "best (step)"]
EVERY += ["tokens/s", "preflight"]
ROW = {"parameters": 33_810, "memory": "omega matrix", "seed": 0, "preflight": "certificate"}


def made(path: Path, step: int = 6, **files: object) -> Path:
    """Write the files of a run by hand and return its directory."""
    path.mkdir(parents=True)
    (path / "config.toml").write_text(to_toml(micro_config(f"train.seed={step}")))
    line = {"step": step, "train/loss": 3.125 + step, "val/loss": 2.5 + step, "train/tokens_per_second": 1000.0 * step}
    (path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    for name, content in files.items():
        (path / f"{name}.json").write_text(json.dumps(content))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A finished run, a killed one with a long name that says why it skipped preflight, and a damaged one."""
    made(tmp_path / "tiny", 6, summary={"steps": 6})
    kill = {"step": 5, "kills": [{"switch": "loss_spike"}]}
    made(tmp_path / "study" / LONG, 5, kill=kill, env=[{"preflight_skipped": SKIPPED}])
    (made(tmp_path / "bad") / "config.toml").write_text("x =")
    return tmp_path


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every console take its output for a terminal without colours."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")


def shown(atlas: Atlas, width: int, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> list[str]:
    """Return the lines of `atlas runs` in a terminal of `width` columns, without its styles."""
    monkeypatch.setenv("COLUMNS", str(width))
    ended = atlas("runs", *arguments)
    assert (ended.code, ended.err) == (0, "")
    text = ended.out.replace("\x1b[1m", "").replace("\x1b[2m", "").replace("\x1b[0m", "")
    return text.splitlines()


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("width", [45, 60, 80, 100, 140, 180])
def test_name_status_steps_and_loss_are_whole_in_every_width_and_nothing_is_an_ellipsis(
    width: int, root: Path, atlas: Atlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: columns that shrink together until each shows a letter; a line that is wider than the terminal; a long
    name that costs another run its loss; a name cut at its end, where the runs of a study differ.
    """
    lines = shown(atlas, width, monkeypatch, root)
    assert max(map(cell_len, lines)) <= width
    assert "…" not in "".join(lines)
    bad, study, tiny = (next(each for each in lines if each.startswith(name)) for name in ("bad", "study/", "tiny"))
    assert tiny.split()[:3] == ["tiny", "finished", "6/6"]
    assert "8.5000" in tiny
    assert study.split()[1:3] == ["killed", "5/6"]
    assert "7.5000" in study
    assert study.split()[0].endswith("-7")
    assert bad.split() == ["bad", "damaged"]
    words = " ".join(" ".join(lines).split())
    assert "bad: damaged: config.toml: is not TOML" in words
    assert "killed by loss_spike at step 5" in words
    assert f'preflight skipped "{SKIPPED}"' in words


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("width", [45, 80, 90])
def test_columns_that_are_left_out_are_named_and_all_others_are_there(
    width: int, root: Path, atlas: Atlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a column that goes without a word; one that is named and shown; the order of importance turned around."""
    (root / "study" / LONG).rename(root / "other")
    lines = shown(atlas, width, monkeypatch, root)
    footer = " ".join(" ".join(lines).split()).partition("left out for want of width: ")[2]
    gone = footer.partition(" (--json has everything)")[0].split(", ")
    assert [name for name in EVERY if name in lines[0]] == [name for name in EVERY if name not in gone]
    assert {"preflight", "seed"} & set(gone)
    assert ("best (step)" in gone) == (width == 45)


@pytest.mark.usefixtures("terminal")
def test_the_column_that_runs_are_sorted_by_stays_before_others(
    root: Path, atlas: Atlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: an order whose reason is not to be seen."""
    (root / "study" / LONG).rename(root / "other")
    assert "seed" not in shown(atlas, 60, monkeypatch, root)[0]
    assert "seed" in shown(atlas, 60, monkeypatch, root, "--sort", "seed")[0]


@pytest.mark.usefixtures("terminal")
def test_numbers_stand_to_the_right(root: Path, atlas: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: numbers of unlike length whose digits do not stand below each other."""
    made(root / "long", 123)
    lines = shown(atlas, 100, monkeypatch, root)
    ends = {line.index(loss) + len(loss) for line in lines for loss in ("125.5000", " 8.5000") if loss in line}
    assert ends == {lines[0].index("val loss") + len("val loss")}


def test_a_pipe_gets_every_run_whole_on_one_line(root: Path, atlas: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a file as narrow as the terminal beside it; notes that a program would take for runs."""
    lines = shown(atlas, 45, monkeypatch, root)
    assert len(lines) == 1 + 3
    assert lines[0].split() == " ".join(EVERY).split()
    study = next(line for line in lines if LONG in line)
    for text in ("killed by loss_spike at step 5", "5/6", "7.5000 (5)", f'skipped "{SKIPPED}"', "5,000"):
        assert text in study


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_name_that_cannot_be_printed_is_spelt_out_and_stops_no_list(
    encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a traceback for a name that is not UTF-8; an escape sequence, a colon code or markup that is obeyed."""
    names = [b"bad\xff", b"e\x1b[2Kx", "für".encode(), b"a:bug:[red]b", b"two\nlines"]
    for name in names:
        made(Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)))
    written = BytesIO()
    monkeypatch.setattr(sys, "stdout", TextIOWrapper(written, encoding=encoding, errors="strict"))
    monkeypatch.setattr(sys, "argv", ["atlas", "runs", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        main()
    sys.stdout.flush()
    assert end.value.code == 0
    ready = written.getvalue().decode(encoding).splitlines()
    expected = ["a:bug:[red]b", r"bad\xff", r"e\x1b[2Kx", "für" if encoding == "utf-8" else r"f\xfcr", r"two\x0alines"]
    assert [line.split()[0] for line in ready[1:]] == expected


def test_a_name_loses_its_middle_and_never_more_than_it_must() -> None:
    """Kills: letters of double width counted once; begin or end lost."""
    assert middle_cut("abcdefghij", 10) == "abcdefghij"
    assert middle_cut("abcdefghijk", 10) == "abcd...ijk"
    wide = middle_cut("記憶の実験番号一", 11)
    assert (wide[0], wide[-1]) == ("記", "一")
    assert 9 <= cell_len(wide) <= 11


def test_the_loss_that_is_always_shown_is_that_of_training_where_nothing_was_validated() -> None:
    """Kills: a column of dashes in the narrowest table."""
    row = {"run": "a", "status": "running", "steps": 1, "max_steps": 9, "train_loss": 4.0, "best_val_loss": None}
    row |= ROW | {"tokens_per_second": None}
    assert list(layout([row | {"val_loss": None}], 30).cells) == ["run", "status", "steps", "train_loss"]
    assert list(layout([row | {"val_loss": 4.5}], 30).cells) == ["run", "status", "steps", "val_loss"]
