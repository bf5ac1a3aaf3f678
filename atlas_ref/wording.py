"""How a person is told something: text from outside so that a terminal only shows it, and counts with their noun."""

import re
import shlex
from pathlib import Path

HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Controls, line separators, marks that turn the direction of writing, and halves of surrogate pairs."""
BYTES = range(0xDC80, 0xDD00)
"""What Python makes of the bytes of a file name that are not UTF-8."""


def visible(text: str, *, lines: bool = False) -> str:
    r"""Return a text with its controls spelt out, such as `\x1b`, so that a terminal shows them and does nothing.

    A byte that is not UTF-8 is shown as itself, `\xff`. With `lines` the text may have several: newlines and tabs stay.
    """
    return HIDDEN.sub(lambda found: found[0] if lines and found[0] in "\n\t" else _spelt(ord(found[0])), text)


def _spelt(code: int) -> str:
    byte = code - 0xDC00 if code in BYTES else code
    return f"\\x{byte:02x}" if byte <= 0xFF else f"\\u{byte:04x}"


def quoted(path: Path) -> str:
    """Return a path as a command line that is shown to be copied needs it: one word to the shell, and no option."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 case`, `1,200 cases`."""
    return f"{number:,} {noun if number == 1 else f'{noun}s'}"
