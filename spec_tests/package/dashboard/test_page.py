"""The page in a real browser, narrow and wide, light and dark; skipped where there is none."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spec_tests.package.cli.made_runs import killed, line, made
from spec_tests.package.dashboard.browser import Tab, browser, find_browser
from spec_tests.package.dashboard.served import served, told

PROGRAM = find_browser()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no browser is installed: apt-get install chromium")
LOOKS = [(400, "light"), (400, "dark"), (1400, "light"), (1400, "dark")]
DRAWN = "document.querySelector('#charts figure path.curve')"
LOSS = "[...document.querySelectorAll('figure')].find((each) => each.querySelector('h3').textContent === 'Loss')"
EVIL = '<img src=x onerror="document.body.dataset.evil=1">'

CONTRAST = """
(() => {
  const parsed = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = (rgb) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => sum + weight * linear(rgb[i] / 255), 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parsed(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
  };
  const found = [];
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.getClientRects().length || element.closest('.unseen, noscript')) continue;
    const style = getComputedStyle(element), drawn = element.namespaceURI.endsWith('svg');
    const text = light(parsed(drawn ? style.fill : style.color));
    const [a, b] = [text, light(behind(element))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) found.push(`${element.textContent.slice(0, 30)}: ${(a + 0.05) / (b + 0.05)}`);
  }
  return found;
})()
"""
"""All visible texts whose contrast with what lies behind them is below 4.5 (WCAG 2.2, 1.4.3)."""


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """A tab of one browser for all tests."""
    assert PROGRAM is not None
    with browser(PROGRAM, tmp_path_factory.mktemp("browser")) as found:
        yield found


def loss_told(tab: Tab) -> dict[str, str]:
    """Return what the legend of the loss says."""
    rows = tab.value(
        f"[...{LOSS}.querySelectorAll('li')].map((row) => [row.children[1].textContent, row.children[2].textContent])"
    )
    return dict(rows)


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_a_run_is_shown_whole_at_any_width_in_light_and_dark_and_everything_can_be_read(
    width: int, scheme: str, tab: Tab, tmp_path: Path
) -> None:
    """Kills: a page wider than the window; text that one scheme hides; a name or sample that is obeyed as HTML."""
    path = killed(made(tmp_path / "run & <b>co</b>"))
    (path / "samples.jsonl").write_text(json.dumps({"step": 6, "prompt": "A", "text": EVIL, "ended": False}) + "\n")
    with served(path) as site:
        tab.open(site, width, 900, scheme)
        tab.until(DRAWN)
        assert tab.value("document.documentElement.scrollWidth") == width
        assert tab.value("document.querySelector('h1').textContent") == path.name
        assert tab.value("document.querySelector('.pill').textContent") == "killed by loss_spike at step 5"
        assert tab.value("document.querySelector('.samples pre').textContent") == f"A{EVIL}"
        assert tab.value("document.body.dataset.evil") is None
        assert loss_told(tab) == {"training": "4.4", "validation": "4.2"}
        assert tab.value(CONTRAST) == []
        background = tab.value("getComputedStyle(document.body).backgroundColor")
        assert (int(background.split("(")[1].split(",")[0]) < 128) == (scheme == "dark")
    assert tab.problems == []


def test_lines_that_are_logged_and_runs_that_begin_appear_without_a_reload(tab: Tab, tmp_path: Path) -> None:
    """Kills: a page that has to be loaded again; a run that is removed and takes the page with it."""
    path = made(tmp_path / "one")
    with served(tmp_path) as site:
        tab.open(site, 1400, 900, "light")
        tab.until(DRAWN)
        tab.value("window.marked = true")
        with (path / "metrics.jsonl").open("a") as log:
            log.write(json.dumps(line(7, 0.1)) + "\n")
        tab.until(f"{LOSS}.textContent.includes('4.3')")
        assert loss_told(tab) == {"training": "4.3", "validation": "4.2"}
        made(tmp_path / "two")
        tab.until("document.querySelectorAll('#list input').length === 2")
        (path / "config.toml").unlink()
        (path / "metrics.jsonl").unlink()
        tab.until("document.querySelector('.pill').textContent === 'gone'")
        assert tab.value("window.marked")


def test_several_runs_lie_over_each_other_in_colours_of_their_own(tab: Tab, tmp_path: Path) -> None:
    """Kills: one colour for all; the numbers of one run under the name of another; a choice that a link forgets."""
    made(tmp_path / "slow"), made(tmp_path / "fast", scale=0.2)
    with served(tmp_path) as site:
        ids = {row["name"]: row["id"] for row in told(site, "/runs")}
        tab.open(f"{site}#{ids['slow']}+{ids['fast']}", 1400, 900, "light")
        tab.until("document.querySelectorAll('h1').length === 2")
        assert loss_told(tab) == {
            "slow, validation": "4.2",
            "slow, training": "4.4",
            "fast, validation": "4.4",
            "fast, training": "3.8",
        }
        strokes = tab.value(f"[...{LOSS}.querySelectorAll('path.curve')].map((each) => getComputedStyle(each).stroke)")
        assert len(strokes) == 4
        assert len(set(strokes)) == 2
        tab.value("document.querySelector('#list input:checked').click()")
        tab.until("document.querySelectorAll('h1').length === 1")
        assert tab.value("location.hash") in {f"#{each}" for each in ids.values()}


def test_every_chart_is_reached_by_the_keyboard_and_says_its_numbers(tab: Tab, tmp_path: Path) -> None:
    """Kills: charts for the mouse alone; a cursor that shows one step and says another; a label without numbers."""
    with served(made(tmp_path / "run")) as site:
        tab.open(site, 1400, 900, "light")
        tab.until(DRAWN)
        for _ in range(20):
            tab.press("Tab")
            if tab.value(f"document.activeElement === {LOSS}.querySelector('svg')"):
                break
        assert "training 4.4 at step 6" in tab.value("document.activeElement.getAttribute('aria-label')")
        tab.press("Home")
        assert loss_told(tab)["training"] == "4.9"
        assert "training 4.9 at step 1" in tab.value("document.getElementById('spoken').textContent")
        tab.press("Escape")
        assert loss_told(tab)["training"] == "4.4"
        unnamed = "[...document.querySelectorAll('button, input, svg[tabindex], nav, main section')].filter((each) => "
        named = "each.getAttribute('aria-label') || each.labels?.length || each.id === 'reports'"
        assert tab.value(f"{unnamed} !({named})).length") == 0


def test_a_server_that_ends_is_said_and_what_was_read_stays(tab: Tab, tmp_path: Path) -> None:
    """Kills: an empty page when the training is over."""
    with served(made(tmp_path / "run")) as site:
        tab.open(site, 400, 900, "dark")
        tab.until(DRAWN)
    said: Any = tab.until("!document.getElementById('lost').hidden && document.getElementById('lost').textContent")
    assert said.startswith("The server does not answer")
    assert loss_told(tab) == {"training": "4.4", "validation": "4.2"}
    tab.problems.clear()
