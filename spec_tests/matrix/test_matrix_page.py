"""The page of the matrix in a real browser, narrow and wide, light and dark; skipped where there is none."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from spec_tests.matrix.page import render_page
from spec_tests.matrix.sample import EVIL, sample
from spec_tests.package.dashboard.browser import Tab, browser, find_browser
from spec_tests.package.dashboard.test_page import CONTRAST

PROGRAM = find_browser()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no browser is installed: apt-get install chromium")
SHOWN = "[...document.querySelectorAll('#matrix tbody tr:not([hidden])')].map((row) => row.dataset.name)"
READY = "document.getElementById('found').textContent"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """A tab of one browser for all tests."""
    assert PROGRAM is not None
    with browser(PROGRAM, tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture
def page(tmp_path: Path) -> str:
    """The page of the sample as a file."""
    path = tmp_path / "matrix.html"
    path.write_text(render_page(sample()), encoding="utf-8")
    return path.as_uri()


def chosen(tab: Tab, field: str, value: str) -> list[str]:
    """Choose a value of a filter and return the rows that are shown."""
    change = f"field.value = {value!r}; field.dispatchEvent(new Event('input'))"
    tab.value(f"(() => {{ const field = document.getElementById({field!r}); {change}; }})()")
    rows: list[str] = tab.value(SHOWN)
    return rows


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_any_width_everything_can_be_read_and_nothing_is_obeyed(scheme: str, tab: Tab, page: str) -> None:
    """Kills: a page wider than its window; a text that one scheme hides; a name that is obeyed as HTML."""
    for width in (400, 800, 1400):
        tab.open(page, width, 900, scheme)
        assert tab.until(READY) == "4 of 4 shown"
        assert tab.value("document.documentElement.scrollWidth") == width
        assert tab.value(CONTRAST) == []
        assert tab.value("document.body.dataset.evil") is None
        visible = "[...document.querySelectorAll('#matrix td[data-kind=fail]')].every((cell) => cell.offsetWidth > 0)"
        assert tab.value(visible)
    assert tab.problems == []


def test_filters_and_columns_show_what_they_say_and_the_counts_are_those_of_the_precision(tab: Tab, page: str) -> None:
    """Kills: a failure in one precision that is shown in another; an order that compares numbers as words."""
    tab.open(page, 1400, 900, "light")
    tab.until(READY)
    assert chosen(tab, "name", "CLAM") == ["clamped"]
    assert chosen(tab, "name", "") == ["green", "clamped", "wrong", EVIL]
    assert chosen(tab, "verdict", "fail") == ["wrong"]
    assert chosen(tab, "verdict", "convention") == ["clamped"]
    assert chosen(tab, "numerics", "f64") == []
    assert chosen(tab, "verdict", "pass") == ["green", "wrong"]
    assert chosen(tab, "verdict", "") == ["green", "wrong"]
    totals = "[...document.querySelectorAll('#matrix tr:not([hidden]) td[data-total]')].map((cell) => cell.textContent)"
    assert tab.value(totals) == ["3", "0", "11", "0"]
    chosen(tab, "numerics", "")
    tab.value("document.querySelector('#matrix th[data-key=passed] button').click()")
    assert tab.value(SHOWN) == ["wrong", "clamped", "green", EVIL]
    assert tab.value("document.querySelector('#matrix th[data-key=passed]').getAttribute('aria-sort')") == "descending"
    assert chosen(tab, "order", "0") == [EVIL, "clamped", "green", "wrong"]
    assert chosen(tab, "order", "") == ["green", "clamped", "wrong", EVIL]
    assert tab.problems == []
