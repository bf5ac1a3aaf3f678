"""Draw the rooms of the repository and the imports between them, as the code has them now.

    python -m benchmarks.house [--out docs/images/house.svg]

Rooms stand in rows so that every arrow leads down; where some go in a circle there is no picture, but an error. Left
out are rooms that are a single file, and arrows that a longer way implies.
"""

import argparse
from pathlib import Path
from typing import Final

from spec_tests.package.house import Arrows, arrows, folders, needed, rows

WIDE: Final = 152
HIGH: Final = 32
GAP: Final = 18
LINE: Final = 70
PAGE: Final = 1080
SWEEPS: Final = 8
"""Times that every room moves towards the middle of those that it is joined to."""
COLOURS: Final = {"atlas_ref": "#fdf3d8", "spec_tests": "#e8f0fe"}


def lane(room: str) -> int:
    """Return where a room stands: the implementation on the left, the suite on the right, all else between them."""
    return {"atlas_ref": -1, "spec_tests": 1}.get(room.partition(".")[0], 0)


def ordered(found: list[list[str]], used: Arrows) -> list[list[str]]:
    """Return the rows with each room near those that it is joined to, so that few arrows cross."""
    joined = {room: used[room] | {other for other in used if room in used[other]} for room in used}
    for _ in range(SWEEPS):
        at = {room: x for room, (x, _) in places(found).items()}

        def middle(room: str, at: dict[str, float] = at) -> float:
            return sum(at[other] for other in joined[room]) / max(1, len(joined[room]))

        found = [sorted(row, key=middle) for row in found]
    return found


def places(found: list[list[str]]) -> dict[str, tuple[float, float]]:
    """Return the upper left corner of each room, every row in the middle of its lane."""
    at: dict[str, tuple[float, float]] = {}
    for number, row in enumerate(found):
        for side in (-1, 0, 1):
            own = [room for room in row if lane(room) == side]
            left = PAGE * (2 + side) / 4 - (len(own) * (WIDE + GAP) - GAP) / 2
            at |= {room: (left + i * (WIDE + GAP), 12.0 + number * LINE) for i, room in enumerate(own)}
    return at


def picture() -> str:
    """Return the picture as SVG."""
    used = needed(folders(arrows()))
    found = ordered(rows(used), used)
    at = places(found)
    height = 24 + len(found) * LINE - LINE + HIGH
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
            # Straight down past other rooms of its lane an arrow would look as if it came from them.
            aside = 1.3 * WIDE if abs(x - to_x) < 1.0 and to_y - y > LINE + 1.0 else 0.0
            bend = f"{(x + to_x + WIDE) / 2 + aside:g} {(y + HIGH + to_y) / 2:g}"
            path = f"M{x + WIDE / 2:g} {y + HIGH:g}Q{bend} {to_x + WIDE / 2:g} {to_y:g}"
            lines.append(f'<path d="{path}" fill="none" stroke="#999" marker-end="url(#a)"/>')
    for room, (x, y) in at.items():
        fill = COLOURS.get(room.partition(".")[0], "#eef7ea")
        lines.append(f'<rect x="{x:g}" y="{y:g}" width="{WIDE}" height="{HIGH}" rx="5" fill="{fill}" stroke="#555"/>')
        lines.append(f'<text x="{x + WIDE / 2:g}" y="{y + 21:g}" text-anchor="middle">{room.replace(".", "/")}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Draw the rooms of the package and what each imports.")
    parser.add_argument("--out", type=Path, default=Path("docs/images/house.svg"), help="where the picture goes")
    parser.parse_args().out.write_text(picture())
