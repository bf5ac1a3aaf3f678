"""A cause of failures in words: what is wrong and where, in which cases, and which seeded fault is like it."""

from typing import Final

from atlas_ref.wording import counted
from spec_tests.contract.operations import OPERATIONS
from spec_tests.report.causes import VECTOR
from spec_tests.report.model import Cause, LastCall, Result

MOST_NAMES: Final = 3
"""Cases of one cause that are named."""
MOST_KEYS: Final = 3
"""Keys of a configuration, and axes, that tell of a call without a rule."""


def headline(cause: Cause, first: Result) -> str:
    """Return a cause in one line: level, operation, output, sentence, what is wrong, and the call where it shows."""
    where = f"L{cause.level} {cause.operation} {cause.output}".strip() if cause.operation else "whatever is asked"
    sentence = f", {cause.sentence}" if cause.sentence else ""
    call = facts(first.last) if first.last and cause.operation else ""
    return f"{where}{sentence}: {cause.what}{f' ({call})' if call else ''}"


def facts(call: LastCall) -> str:
    """Return the configuration and lengths of a call by which a defect is known: rule, chunk, window, T."""
    axes: dict[str, int] = {}
    for tensor in OPERATIONS[call.operation].inputs:
        for axis, length in zip(tensor.axes, call.shapes.get(tensor.name, ()), strict=False):
            name, _, less = axis.partition("-")
            axes.setdefault(name, length + int(less or 0))
    names = [name for name in ("rule", "chunk") if name in call.config] or list(call.config)[:MOST_KEYS]
    lengths = {"window": axes.get("window"), "T": axes.get("time")}
    if not any(lengths.values()):
        lengths = {name: axes[name] for name in list(axes)[:MOST_KEYS] if not name.isdigit()}
    words = [f"{name} {call.config[name]}" for name in names]
    return ", ".join([*words, *(f"{name} {length}" for name, length in lengths.items() if length is not None)])


def cases(cause: Cause) -> str:
    """Return the first cases of a cause by name, a vector once for all its precisions, and how many there are."""
    together: dict[str, list[str]] = {}
    for name in cause.cases:
        vector, slash, numerics = name.rpartition("/") if name.startswith(VECTOR) else (name, "", "")
        together.setdefault(vector, []).extend([numerics] if slash else [])
    names = [f"{name} in {', '.join(kinds)}" if kinds else name for name, kinds in together.items()]
    more = f"; in all {counted(len(cause.cases), 'case')}" if len(names) > MOST_NAMES else ""
    return "; ".join(names[:MOST_NAMES]) + more


def likeness(cause: Cause) -> str:
    """Return the seeded fault that a cause is like, by the vote of its cases; "" where none was sought."""
    if not cause.sought or cause.similarity is None:
        return ""
    by = f"mean of {cause.sought} cases" if cause.sought > 1 else "1 case"
    if cause.hint is None:
        return f"no seeded fault is like this ({by})"
    return f"like the seeded fault {cause.hint} (cosine {cause.similarity:.2f}, {by})"
