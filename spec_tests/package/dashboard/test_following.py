"""metrics.jsonl followed: in pieces, half written, damaged, replaced, and long."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from atlas_ref.errors import UserError
from cli.dashboard import following
from cli.dashboard.columns import MOST_BUCKETS
from cli.dashboard.following import FollowedLog
from spec_tests.package.cli.made_runs import LAYERS, line


def text(*steps: int) -> str:
    return "".join(json.dumps(line(step, 0.1)) + "\n" for step in steps)


def values(log: FollowedLog, key: str) -> list[tuple[int, float | None]]:
    found = log.columns[key].thinned(0)
    return list(zip(found.steps, found.mean, strict=True))


def test_a_log_read_in_pieces_of_any_length_is_the_log_read_at_once(tmp_path: Path) -> None:
    """Kills: a line that is cut in two and lost, or read as two; validation at the steps of the training."""
    path, whole = tmp_path / "metrics.jsonl", text(*range(1, 9)).encode()
    log = FollowedLog(path)
    for length in range(0, len(whole) + 1, 97):
        path.write_bytes(whole[:length])
        log.read()
    path.write_bytes(whole)
    assert not log.read()
    lines = [line(step, 0.1) for step in range(1, 9)]
    assert log.damaged == 0
    for key in ("train/loss", "val/loss", "memory/omega_loss"):
        assert values(log, key) == [(each["step"], float(f"{each[key]:.7g}")) for each in lines if key in each]


def test_the_range_of_a_metric_is_that_over_its_layers(tmp_path: Path) -> None:
    """Kills: the first layer for all of them; layers as metrics of their own."""
    (tmp_path / "metrics.jsonl").write_text(text(1, 2, 3))
    log = FollowedLog(tmp_path / "metrics.jsonl")
    log.read()
    found = log.columns["memory/omega_loss"].thinned(0)
    assert found.low == pytest.approx([0.1, 0.2, 0.3])
    assert found.high == pytest.approx([0.1 * LAYERS**2, 0.2 * LAYERS**2, 0.3 * LAYERS**2])
    assert not [key for key in log.columns if "layer" in key]


@pytest.mark.parametrize("put", ["longer", "shorter", "same length"])
def test_a_log_that_was_replaced_is_read_anew(put: str, tmp_path: Path) -> None:
    """Kills: a resumed run, which writes its log anew, read on from the old place."""
    path = tmp_path / "metrics.jsonl"
    path.write_text(text(1, 2, 3, 4))
    log = FollowedLog(path)
    log.read()
    before = log.generation
    new = {"longer": text(1, 2, 3, 5, 6), "shorter": text(1, 2), "same length": text(1, 2, 3, 5)}[put]
    (tmp_path / "other").write_text(new)
    os.replace(tmp_path / "other", path)
    log.read()
    assert log.generation != before
    assert log.step == json.loads(new.splitlines()[-1])["step"]
    assert [step for step, _ in values(log, "train/loss")] == [json.loads(each)["step"] for each in new.splitlines()]


def test_damaged_lines_are_counted_and_cost_no_other(tmp_path: Path) -> None:
    """Kills: a page that ends at the first damaged line; text, lists and steps that fall taken for numbers."""
    bad = ["{", "[1]", "null", '{"step": 1, "a": 2}', '{"a": 2}', '{"step": true}', '{"step": 5, "a": {}}']
    bad += ['{"step": 5, "a": "word"}', '{"step": 5, "a": NaN}', '{"step": 1e400}', '{"step": 5, "a": [1, 2]}', "\xff"]
    content = [text(1, 2).encode(), *(each.encode("latin-1") + b"\n" for each in bad), b'{"step": 6, "a": null}\n']
    (tmp_path / "metrics.jsonl").write_bytes(b"".join(content))
    log = FollowedLog(tmp_path / "metrics.jsonl")
    log.read()
    assert log.damaged == len(bad)
    assert log.step == 6
    assert values(log, "a") == [(6, None)]
    assert [step for step, _ in values(log, "train/loss")] == [1, 2]


def test_a_log_that_goes_away_and_one_that_is_no_file(tmp_path: Path) -> None:
    """Kills: numbers of a run that was removed; a pipe that is waited at for ever."""
    path = tmp_path / "metrics.jsonl"
    log = FollowedLog(path)
    assert not log.read()
    path.write_text(text(1))
    log.read()
    path.unlink()
    log.read()
    assert log.columns == {}
    os.mkfifo(path)
    with pytest.raises(UserError, match="not a regular file"):
        log.read()


def test_a_line_that_does_not_end_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Kills: a file of other bytes that is looked at again from its beginning for ever."""
    monkeypatch.setattr(following, "BLOCK", 1000)
    (tmp_path / "metrics.jsonl").write_bytes(b"\0" * 2500 + b"\n" + text(1).encode())
    log = FollowedLog(tmp_path / "metrics.jsonl")
    while log.read():
        pass
    assert log.step == 1


def test_a_hundred_thousand_lines_are_a_few_hundred_buckets_in_which_no_spike_is_lost(tmp_path: Path) -> None:
    """Kills: all of a log in one answer; a spike of one step that thinning drops."""
    steps, spike = 100_000, 61_803
    loss = 2.0 + np.cos(np.arange(steps) / 9000.0)
    loss[spike] = 50.0
    lines = (f'{{"step": {n + 1}, "train/loss": {loss[n]:.9f}}}\n' for n in range(steps))
    (tmp_path / "metrics.jsonl").write_text("".join(lines))
    log = FollowedLog(tmp_path / "metrics.jsonl")
    assert log.read(blocks=1), "the first answer must not wait for the whole log"
    assert 0 < log.step < steps
    while log.read():
        pass
    found = log.columns["train/loss"].thinned(0)
    assert (found.lines, found.steps[-1]) == (steps, steps)
    assert len(found.steps) <= MOST_BUCKETS
    (place,) = (n for n, high in enumerate(found.high) if high == 50.0)
    assert found.steps[place] - found.stride < spike + 1 <= found.steps[place]
    assert np.mean([mean for mean in found.mean[:-1] if mean is not None]) == pytest.approx(loss.mean(), rel=1e-2)
    # A step more changes the last bucket alone.
    assert len(log.columns["train/loss"].thinned(steps - 1).steps) == 1
