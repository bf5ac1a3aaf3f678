"""The forms of a report as a reader meets them: counts with their noun, tables that scroll, text that is only shown.

Every test names the fault that was put into the program by hand and that it caught.
"""

import re
from html.parser import HTMLParser

import pytest

from spec_tests.contract.outcome import Outcome
from spec_tests.port import Declaration, Numerics, Op
from spec_tests.report.html import CSS, render_html
from spec_tests.report.model import Report
from spec_tests.report.plugin import Error
from spec_tests.report.samples import NOTHING, report, result
from spec_tests.report.scope import Scope
from spec_tests.report.summary import written

HOSTILE = "a\x1b[2J\x9b1A:bug:[red]\u202eb"
SHOWN = r"a\x1b[2J\x9b1A:bug:[red]\u202eb"


def declared(**changes: object) -> Declaration:
    return Declaration(**{**vars(NOTHING), **changes})


def hostile() -> Report:
    """Return a report in which every text that a port or a list may choose tries to reach the terminal."""
    made = (
        result("ATL-NS-001/f32", Outcome.FAIL, reason=HOSTILE),
        result(f"test_a:test_b[{HOSTILE}]", Outcome.ERROR, op=Op.SHORT_CONV, reason=HOSTILE),
    )
    port = declared(name=HOSTILE, version=HOSTILE)
    return report(*made, declared=port, port=HOSTILE, problems=(HOSTILE,), understated=(HOSTILE,))


def test_the_short_form_shows_what_a_port_says_and_obeys_none_of_it() -> None:
    """Kills: an escape sequence in a name or a reason, a colon code or markup that reaches the terminal."""
    text = written(hostile(), 100, coloured=False)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert text.count(SHOWN) >= 6
    assert Error(f"--port {HOSTILE}", 2).msg == f"--port {SHOWN}"


def test_the_page_spells_out_controls() -> None:
    """Kills: a mark that turns the text around it, or half a surrogate pair that cannot be written at all."""
    page = render_html(hostile(), [])
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert SHOWN in page
    render_html(report(result(), declared=declared(name="caf\udce9")), []).encode()


@pytest.mark.parametrize(("number", "words"), [(1, "1 operation;"), (2, "2 operations;")])
def test_a_single_thing_is_no_plural(number: int, words: str) -> None:
    """Kills: "Declares 1 operations", "1 processors", "untapped: 1 cases", "L0 to L0"."""
    port = declared(operations=frozenset(list(Op)[:number]))
    alone = result().model_copy(update={"untapped": ("gradient",)})
    found = report(alone, declared=port, scope=Scope(level=0, numerics=(Numerics.F32,)))
    found = found.model_copy(update={"machine": found.machine.model_copy(update={"processors": number})})
    page = render_html(found, [])
    assert f"<dd>{words}" in page
    assert re.search(rf", {number} processor{'s' * (number > 1)}<", page)
    assert "<dd>L0 in f32<" in page
    assert "untapped: 1 case in which" in written(found, 100, coloured=False)


class Regions(HTMLParser):
    """The attributes of the element around each table of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.around: list[dict[str, str | None]] = []
        self._last: dict[str, str | None] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.around.append(self._last)
        self._last = dict(attrs)


def test_every_table_stands_in_a_region_that_scrolls_shows_it_and_can_be_reached_by_keys() -> None:
    """Kills: a table on its own, whose last columns a narrow window hides without a sign."""
    around = Regions(render_html(hostile(), [])).around
    assert len(around) >= 3
    assert around == [{"class": "scroll", "tabindex": "0"}] * len(around)
    style = CSS.read_text()
    assert all(rule in style for rule in (".scroll { overflow-x: auto;", ".scroll::before {", "var(--shade)"))
