"""WikiText: lines that make articles. One begins at each heading of the first level; all of it is learned."""

import re
from collections.abc import Iterable, Iterator

from atlas_ref.data.adapters.row import Example, Row, Skip

HEADING = re.compile(r"\s*= (?!= )\S(?:.*\S)?(?<! =) =\s*")
"""` = Title = `, and no ` = = Section = = `."""


def wikitext(rows: Iterable[Row]) -> Iterator[Example | Skip]:
    """Yield an article with its heading as the answer to nothing; what stands before the first heading is one too."""
    lines: list[str] = []
    for row in rows:
        line = row.text("text").removesuffix("\n")
        if HEADING.fullmatch(line) and lines:
            yield _article(lines)
            lines = []
        if line or lines:
            lines.append(line)
    if lines:
        yield _article(lines)


def _article(lines: list[str]) -> Example:
    text = "\n".join(lines).strip()
    return Example("", text, text)
