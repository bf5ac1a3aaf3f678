"""What each part of the self-proof is about, by name: what a selection can name, and whether it names anything."""

from collections.abc import Callable, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Final

from atlas_ref.errors import UserError
from spec_tests.faults.catalogue import CATALOGUE
from spec_tests.faults.generated.catalogue import GENERATED
from spec_tests.selfproof.mutants import every_module
from spec_tests.selfproof.port_tests import port_tests
from spec_tests.selfproof.variants import variants
from spec_tests.vectors.case import load_cases

SHOWN: Final = 3
"""Names that a sentence offers in the place of one that is not there."""


def _faults() -> Sequence[str]:
    return [fault.id for fault in CATALOGUE]


def _generated() -> Sequence[str]:
    return [fault.id for fault in GENERATED]


def _checks() -> Sequence[str]:
    return [*(test.name for test in port_tests()), *(case.id for case in load_cases())]


def _modules() -> Sequence[str]:
    return list(every_module())


SUBJECTS: Final[Mapping[str, Callable[[], Sequence[str]]]] = {
    "faults": _faults,
    "generated": _generated,
    "vacuity": _checks,
    "mutants": _modules,
    "variants": lambda: list(variants()),
}


def matching(parts: Sequence[str], only: str, *, all_of_them: bool) -> tuple[str, ...]:
    """Return the parts in which a name begins with `only`.

    UserError where none has one, or, with `all_of_them`, where one of the parts has none: nothing tried proves nothing.
    """
    names = {part: SUBJECTS[part]() for part in parts}
    found = tuple(part for part in parts if any(name.startswith(only) for name in names[part]))
    without = [part for part in parts if part not in found]
    if without and (all_of_them or not found):
        known = [name for part in without for name in names[part]]
        near = sorted(dict.fromkeys(known), key=lambda name: -_likeness(only, name))[:SHOWN]
        raise UserError(f"--only {only}: no name of {' or '.join(without)} begins so; the nearest: {', '.join(near)}.")
    return found


def _likeness(only: str, name: str) -> float:
    """Return how much a name, or its beginning, is like the text."""
    return max(SequenceMatcher(None, only, text).ratio() for text in (name, name[: len(only)]))
