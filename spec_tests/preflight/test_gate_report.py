"""What a person reads of the gates: a line for each, and the numbers behind those that did not pass.

Every test names the fault that was put into the program by hand and that it caught.
"""

import io
import re

import pytest
from rich.console import Console

from cli.gate_report import HEADLINES, headline, print_results
from preflight.gates import GATES
from preflight.result import GateResult, Verdict, at_least, conclude
from preflight.subject import HEALTHY, Budget
from spec_tests.package.micro.command import Atlas, in_this_process
from spec_tests.preflight.gates import check_of, put_in_place, result_of
from spec_tests.preflight.micro import micro_config

HASTE = Budget(probe_steps=1, batches=2, sequence_length=64, batch_size=2)
"""Enough for a gate to name its checks, whatever their verdicts."""
VALUE, LIMIT = 1234.5, 7.5
OTHERS = (99.0, 98.0)
SENTENCE = "a sentence that is longer than what stands beside numbers, whatever the width of the terminal may be"
LONG = conclude(
    "a-gate-with-a-name",
    [at_least("a check with a rather long name", 0.5, 0.25, SENTENCE), check_of(Verdict.INCONCLUSIVE)],
    {},
    0.25,
)


def printed(results: list[GateResult], width: int | None, *, details: bool = False, colour: bool = False) -> str:
    """Return what is printed in a terminal of `width` columns, or in a pipe."""
    screen = io.StringIO()
    console = Console(
        file=screen,
        force_terminal=width is not None,
        width=width or 80,
        color_system="standard" if colour else None,
        highlight=False,
    )
    print_results(results, console, details=details)
    return screen.getvalue()


@pytest.mark.parametrize("gate", GATES)
def test_a_gate_that_passes_is_one_line_with_its_number_and_its_threshold_in_words(gate: str) -> None:
    """Kills: a check renamed, so that its gate speaks of nothing; a gate without words; a line longer than 80."""
    checks = GATES[gate](micro_config(), HEALTHY, 0, HASTE).checks
    assert HEADLINES[gate][0] in [check.name for check in checks]
    numbers_of = {HEADLINES[gate][0]: (VALUE, LIMIT)}
    told = [at_least(check.name, *numbers_of.get(check.name, OTHERS), check.sentence) for check in checks]
    passed = conclude(gate, told, {}, 1.0)
    numbers = [float(each.replace(",", "")) for each in re.findall(r"[\d,.]*\d", headline(passed))]
    assert numbers == [pytest.approx(VALUE, rel=1e-3), pytest.approx(LIMIT, rel=0.1)]
    (line,) = printed([passed], 80).splitlines()
    assert line.split()[:2] == ["PASS", gate]


def test_only_gates_that_did_not_pass_show_their_checks_by_themselves() -> None:
    """Kills: a failure without its numbers; the numbers of every gate around the one that matters."""
    quiet = result_of("first-gate", Verdict.PASS)
    for verdict, word in ((Verdict.FAIL, "fails"), (Verdict.INCONCLUSIVE, "undecided")):
        text = printed([quiet, result_of("second-gate", verdict)], None)
        lines = text.splitlines()
        assert lines[1].split() == [verdict, "second-gate", f"{word}:", "margin", "(0.5", "against", "0.25)"]
        assert text.count("first-gate") == 1
        assert text.count("the margin is PASS") == text.count(f"the margin is {verdict}") == 1
    assert printed([quiet], None).count("\n") == 1
    assert printed([quiet], None, details=True).count("the margin is PASS") == 2


def test_a_pipe_gets_the_numbers_of_each_check_on_one_line_of_no_more_than_80_columns() -> None:
    """Kills: a table as wide as its longest sentence; numbers cut off; a sentence that is."""
    text = printed([LONG], None, details=True)
    (line,) = (line for line in text.splitlines() if "a check with" in line)
    assert line.split() == f"PASS {LONG.checks[0].name} 0.5 threshold 0.25".split()
    assert SENTENCE in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("width", [45, 80, 140])
def test_a_terminal_of_any_width_gets_every_number_and_sentence_and_no_colour_is_honoured(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: a column left out; a name or a sentence cut off where the terminal is narrow; colours despite NO_COLOR."""
    assert "\x1b[33m" in printed([LONG], width, colour=True)
    monkeypatch.setenv("NO_COLOR", "1")
    drawn = printed([LONG], width, colour=True)
    assert "\x1b[3" not in drawn
    text = re.sub(r"\x1b\[[\d;]*m", "", drawn)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    words = " ".join(text.split())
    for told in ("a-gate-with-a-name", "a check with a rather long name", "in 0.2 s", "[0.125, 1]"):
        assert told in words
    if width < 140:
        assert SENTENCE in words
    assert words.count("0.25") == 3
    assert words.count("0.5") == 3


def test_the_line_before_a_preflight_fits_a_terminal_of_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: object
) -> None:
    """Kills: a list of gates that is cut in the middle of a word."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    put_in_place(monkeypatch).verdicts["first-gate"] = Verdict.FAIL
    atlas: Atlas = in_this_process(monkeypatch, capsys)
    ended = atlas("train", "--out", f"{tmp_path}/run")
    assert ended.code == 3
    (line,) = (each for each in ended.out.splitlines() if "running preflight" in each)
    assert line.endswith("running preflight, 2 gates")
    assert len(line) <= 80
