"""Pieces of an HTML page. Everything that came from a port passes through `text`, where it is escaped."""

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import NewType

from atlas_ref.wording import visible
from spec_tests.contract.outcome import Outcome
from spec_tests.report.model import Result

Html = NewType("Html", str)
"""Text that may stand in a page as it is."""


def text(value: object) -> Html:
    """Return anything as text of a page, its controls spelt out."""
    return Html(escape(visible(str(value), lines=True), quote=True))


def prose(value: str) -> Html:
    """Return text in which backticks set code, as in docs/spec."""
    return Html(re.sub("`([^`]+)`", r"<code>\1</code>", text(value)))


def join(parts: Iterable[Html], between: str = "") -> Html:
    """Return pieces of a page one after the other."""
    return Html(between.join(parts))


def element(tag: str, inner: Html, **attributes: str) -> Html:
    """Return an element; a trailing underscore in an attribute's name is dropped, so that `class_` can be said."""
    written = "".join(f' {name.rstrip("_")}="{text(value)}"' for name, value in attributes.items() if value)
    return Html(f"<{tag}{written}>{inner}</{tag}>")


def table(head: Sequence[str], rows: Iterable[Html], class_: str = "") -> Html:
    """Return a table that scrolls by itself when the window is narrow."""
    cells = join(element("th", text(name), scope="col") for name in head)
    body = element("tbody", join(rows))
    inner = Html(element("thead", element("tr", cells)) + body)
    return element("div", element("table", inner, class_=class_), class_="scroll", tabindex="0")


def cell(inner: Html, class_: str = "") -> Html:
    """Return one cell of a table."""
    return element("td", inner, class_=class_)


def row(*cells: Html, id_: str = "") -> Html:
    """Return one row of a table."""
    return element("tr", join(cells), id_=id_)


def tone(result: Result) -> str:
    """Return the colour of a result."""
    if result.outcome is Outcome.PASS:
        return "good"
    return "bad" if result.failed and result.known is None else "part"


def tag(result: Result) -> Html:
    """Return the outcome of a case as a small label."""
    words = f"{result.outcome} {result.blocked_by}" if result.blocked_by else result.outcome
    known = " (expected)" if result.known is not None else ""
    return element("span", text(f"{words}{known}"), class_=f"tag {tone(result)}")


def definitions(facts: Mapping[str, str]) -> Html:
    """Return names with their values."""
    pairs = (Html(element("dt", text(name)) + element("dd", text(value))) for name, value in facts.items())
    return element("dl", join(pairs))


def bullets(lines: Iterable[str]) -> Html:
    """Return a plain list."""
    return element("ul", join(element("li", text(line)) for line in lines), class_="plain")
