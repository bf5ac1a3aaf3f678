"""The bar of a training in terminals of any width, and what is printed beside it.

Every test names the fault that was put into the program by hand and that it caught.
"""

import io
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from cli.progress import BarReporter, PlainReporter

STEPS = 100_000


def frames(width: int, *steps: tuple[int, float, float]) -> list[str]:
    """Return what a terminal of `width` columns shows before the first step and at last, without its styles."""
    shown = []
    for told in ((), steps):
        screen = io.StringIO()
        with BarReporter(Console(file=screen, force_terminal=True, width=width, _environ={}), 0, STEPS) as bar:
            for step, loss, speed in told:
                bar.on_step(step, loss, speed)
        text = re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", screen.getvalue()).replace("\r", "\n")
        shown.append([line for line in text.splitlines() if line.strip()][-1])
    return shown


@pytest.mark.parametrize("width", [40, 45, 71, 72, 80, 140])
def test_steps_loss_and_time_are_whole_in_every_width(width: int) -> None:
    """Kills: digits that shrink before the bar does; a line that is wider than the terminal."""
    before, after = frames(width, (1, 5.5, 900.0), (12_345, 10.123, 12_345.6))
    assert max(map(cell_len, (before, after))) <= width
    assert before.split()[:2] == ["step", "0/100000"]
    assert after.split()[:2] == ["step", "12345/100000"]
    assert "loss 10.123" in after
    assert re.search(r" \d+:\d\d:\d\d|-:--:--", after)
    assert ("12,346 tokens/s" in after) == (width >= 72)
    assert "━" in after


def test_before_the_first_step_there_is_no_loss_and_no_speed_to_tell() -> None:
    """Kills: "loss nan 0 tokens/s", at which a trainer's heart stops."""
    before, after = frames(80, (1, 5.5, 900.0))
    assert "starting" in before
    assert not re.search("nan|loss|tokens/s", before)
    assert "starting" not in after


def test_what_the_model_or_a_path_says_is_shown_and_not_obeyed() -> None:
    """Kills: an escape sequence in a sample that clears the screen; markup and colon codes in a path."""
    screen = io.StringIO()
    PlainReporter(Console(file=screen, width=20), 0, STEPS).say(
        "two\nlines \x1b[2J\x07 of [red]:bug:[/] and no end in sight"
    )
    assert screen.getvalue() == "two\nlines \\x1b[2J\\x07 of [red]:bug:[/] and no end in sight\n"


def test_a_line_of_the_log_without_a_loss_is_not_printed_beside_the_sentence_that_says_it() -> None:
    """Kills: a step with nothing behind it, at the end of an epoch."""
    screen = io.StringIO()
    reporter = PlainReporter(Console(file=screen, width=80), 0, STEPS)
    reporter.on_metrics(2, {"epoch/val_loss": 1.5})
    assert screen.getvalue() == ""
    reporter.on_metrics(3, {"train/loss": 2.5})
    assert screen.getvalue().startswith(f"step 3/{STEPS}  loss 2.5000")
