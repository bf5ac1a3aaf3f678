"""Which texts a person can read: those that a run keeps and every report of it shows, such as a reason."""

import unicodedata

UNSEEN = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0}
"""Letters, marks and symbols that show nothing: joiners, fillers and the empty Braille pattern."""
SELECTORS = (range(0x180B, 0x1810), range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))
"""Variation selectors, which are marks too."""
SHOWING = ("L", "N", "P", "S")
"""Categories of Unicode with something to see; a mark alone needs a letter to sit on."""


def unreadable(text: str) -> str | None:
    """Return why a text is none that a person can read in one line, such as "it holds U+200B"; None for one that is.

    Refused are controls, line breaks, marks that turn the direction of writing, halves of surrogate pairs, characters
    without width or shape, all spaces but the common one, and a text without anything to see.
    """
    for character in text:
        if not character.isprintable() or _unseen(ord(character)):
            return f"it holds {_named(character)}, which nobody can see"
    if not any(unicodedata.category(character)[0] in SHOWING for character in text):
        return "it holds nothing to see"
    return None


def _unseen(code: int) -> bool:
    return code in UNSEEN or any(code in selectors for selectors in SELECTORS)


def _named(character: str) -> str:
    name = unicodedata.name(character, "")
    return f"U+{ord(character):04X}{f' ({name})' if name else ''}"
