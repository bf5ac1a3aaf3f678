"""Draw the rooms of the repository and the imports between them, as the code has them now.

    python -m benchmarks.house [docs/images/house.svg]

Rooms stand in rows so that every arrow leads down; where some go in a circle there is no picture, but an error.
"""

import sys
from pathlib import Path
from typing import Final

from spec_tests.package.house import arrows, rows

WIDE: Final = 150
HIGH: Final = 34
GAP: Final = 26
LINE: Final = 74
PAGE: Final = 760


def places(found: list[list[str]]) -> dict[str, tuple[float, float]]:
    """Return the upper left corner of each room, every row in the middle of the page."""
    at: dict[str, tuple[float, float]] = {}
    for number, row in enumerate(found):
        left = (PAGE - len(row) * WIDE - (len(row) - 1) * GAP) / 2
        at |= {room: (left + i * (WIDE + GAP), 12.0 + number * LINE) for i, room in enumerate(row)}
    return at


def picture() -> str:
    """Return the picture as SVG."""
    used = arrows()
    found = rows(used)
    at = places(found)
    height = 24 + len(found) * LINE
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {PAGE} {height}"'
        ' font-family="sans-serif" font-size="12">',
        '<marker id="a" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#888"/></marker>',
        f'<rect width="{PAGE}" height="{height}" fill="white"/>',
    ]
    for room in sorted(used):
        for other in sorted(used[room]):
            (x, y), (to_x, to_y) = at[room], at[other]
            path = f'x1="{x + WIDE / 2:g}" y1="{y + HIGH:g}" x2="{to_x + WIDE / 2:g}" y2="{to_y:g}"'
            lines.append(f'<line {path} stroke="#bbb" marker-end="url(#a)"/>')
    for room, (x, y) in at.items():
        fill = "#e8f0fe" if room.startswith("spec_tests") else "#fdf3d8"
        lines.append(f'<rect x="{x:g}" y="{y:g}" width="{WIDE}" height="{HIGH}" rx="5" fill="{fill}" stroke="#555"/>')
        lines.append(f'<text x="{x + WIDE / 2:g}" y="{y + 21:g}" text-anchor="middle">{room.replace(".", "/")}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images/house.svg").write_text(picture())
