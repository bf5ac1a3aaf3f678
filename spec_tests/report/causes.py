"""Which failures are one: those of one operation, one sentence and one output, and those of one error.

A defect fails many cases. Of a divergence the output is the tensor where it begins, of a property the one that its
message names. Of the sentences that the cases of an output hold, the one counts that most of them hold and, of several
such, the one that fewest passing cases hold. An error is known by its first line and the place in the port; where
operations of every kind have the same one, it is the port's (an import that fails, a program that does not start).
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from spec_tests.contract.contain import PLACE
from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.outcome import Outcome
from spec_tests.port import Op
from spec_tests.report.model import Cause, Result
from spec_tests.vectors.compare import TRACES

SIMILAR: Final = 0.7
"""Least mean cosine at which a seeded fault is named for a cause."""
VECTOR: Final = "ATL-"
"""How the id of a stored case begins."""
_NUMBER: Final = re.compile(r"\d[\d.,e+-]*")
Key = tuple[Outcome, Op | None, str]


def causes(results: Sequence[Result]) -> tuple[Cause, ...]:
    """Return the causes of all failures that no list expects: what has a stored case first, what is blocked last."""
    failed = [result for result in results if result.failed and result.known is None]
    groups: defaultdict[Key, list[Result]] = defaultdict(list)
    for result in failed:
        groups[_key(result)].append(result)
    passing = [result for result in results if result.outcome is Outcome.PASS]
    found = [cause for key, group in _joined(groups) for cause in _split(key, group, passing)]
    return tuple(sorted(found, key=_order))


def _order(cause: Cause) -> tuple[bool, bool, int, int, int]:
    property_only = not any(name.startswith(VECTOR) for name in cause.cases)
    place = -1 if cause.operation is None else list(Op).index(cause.operation)
    return cause.outcome is Outcome.BLOCKED, property_only, cause.level, place, -len(cause.cases)


def _key(result: Result) -> Key:
    op = operation(result)
    if result.outcome is Outcome.BLOCKED:
        return result.outcome, op, str(result.blocked_by)
    if result.outcome is Outcome.FAIL and output(result):
        return result.outcome, op, output(result)
    return result.outcome, op, pattern(result)


def operation(result: Result) -> Op | None:
    """Return the operation at which a case stopped."""
    return result.last.operation if result.last else next(iter(result.operations), None)


def output(result: Result) -> str:
    """Return the tensor that is wrong, "" where the failure names none.

    Messages begin with operation and tensor; one that does not means the only output, where there is one alone.
    """
    if result.divergence:
        return TRACES.get(result.divergence.tensor, result.divergence.tensor)
    op = operation(result)
    found = re.match(rf"{op} (gradient of )?'?(\w+)", result.reason) if op else None
    if op is None:
        return ""
    inputs, outputs = (
        [tensor.name for tensor in tensors] for tensors in (OPERATIONS[op].inputs, OPERATIONS[op].outputs)
    )
    if found and found[1]:
        return f"grad.{found[2]}" if found[2] in inputs else ""
    if found and found[2] in outputs:
        return found[2]
    return outputs[0] if len(outputs) == 1 and not (result.last and result.last.gradients) else ""


def first_line(result: Result) -> str:
    """Return the first line of a reason, without the operation that it begins with."""
    line = result.reason.strip().partition("\n")[0]
    return line.removeprefix(f"{operation(result)}: ")


def what(result: Result) -> str:
    """Return what is wrong in a few words: how far off, or the first line of the reason."""
    if result.blocked_by:
        return f"blocked by {result.blocked_by}"
    found = result.divergence
    if found is None:
        return first_line(result).removeprefix(f"{operation(result)} ").removeprefix(f"{output(result)} ")
    at = "" if found.step is None else f" at step {found.step}"
    return f"off by {found.error:.3g}{at}, budget {found.budget:.3g}"


def place(result: Result) -> str:
    """Return where in the port an exception was raised, "" where that is not known."""
    lines = result.reason.splitlines()
    return next((line.removeprefix(PLACE) for line in lines if line.startswith(PLACE)), "")


def pattern(result: Result) -> str:
    """Return what errors of one cause have in common: the first line without its numbers; the place if it says nothing.

    An import that fails is one error wherever it stands.
    """
    line = first_line(result)
    return _NUMBER.sub("#", line) if ": " in line else f"{line} {place(result)}"


def _joined(groups: dict[Key, list[Result]]) -> Iterator[tuple[Key, list[Result]]]:
    """Yield the groups, with those of one error in several operations as one."""
    places: defaultdict[tuple[Outcome, str], list[Key]] = defaultdict(list)
    for outcome, op, words in groups:
        places[outcome, words].append((outcome, op, words))
    for (outcome, words), keys in places.items():
        if outcome in (Outcome.ERROR, Outcome.UNDECLARED) and len(keys) > 1:
            yield (outcome, None, words), [result for key in keys for result in groups[key]]
        else:
            yield from ((key, groups[key]) for key in keys)


def _split(key: Key, group: Sequence[Result], passing: Sequence[Result]) -> Iterator[Cause]:
    """Yield a cause a sentence for answers that are wrong, one alone for errors."""
    outcome, op, _ = key
    if outcome is not Outcome.FAIL:
        yield _cause(op, "", group)
        return
    # What stored cases show explains the properties of the same output.
    stored = [result for result in group if result.kind == "vector"]
    held = Counter(name for result in passing if op in result.operations for name in result.requirements)
    parts = _by_sentence(stored or group, held)
    for result in group if stored else ():
        if result.kind != "vector":
            sentence = next((name for name in parts if name in result.requirements), next(iter(parts)))
            parts[sentence].append(result)
    yield from (_cause(op, sentence, part) for sentence, part in parts.items())


def _by_sentence(group: Sequence[Result], passing: Counter[str]) -> dict[str, list[Result]]:
    """Return failures by the sentence that they are counted under, the largest number first."""
    parts: dict[str, list[Result]] = {}
    left = list(group)
    while left:
        held = Counter(name for result in left for name in result.requirements)
        sentence = min(held, key=lambda name: (-held[name], passing[name]), default="")
        parts[sentence] = [result for result in left if not held or sentence in result.requirements]
        left = [result for result in left if held and sentence not in result.requirements]
    return parts


def _cause(op: Op | None, sentence: str, group: Sequence[Result]) -> Cause:
    ordered = sorted(group, key=lambda result: (result.kind != "vector", result.place))
    first = ordered[0]
    hint, similarity, sought = vote(ordered)
    return Cause(
        operation=op,
        level=min(result.level for result in group),
        outcome=first.outcome,
        sentence=sentence,
        output=output(first) if first.outcome is Outcome.FAIL else "",
        what=what(first),
        cases=tuple(result.id for result in ordered),
        hint=hint,
        similarity=similarity,
        sought=sought,
    )


def vote(results: Iterable[Result]) -> tuple[str | None, float | None, int]:
    """Return the seeded fault that cases together are most like, its mean cosine, and how many cases voted.

    None below `SIMILAR`. In a case that does not name it among the nearest its cosine counts as 0.
    """
    likely = [
        result.divergence.likely for result in results if result.divergence and result.divergence.likely is not None
    ]
    total: defaultdict[str, float] = defaultdict(float)
    for faults in likely:
        for each in faults:
            total[each.fault] += each.cosine
    if not total:
        return None, 0.0 if likely else None, len(likely)
    fault = max(total, key=lambda name: total[name])
    mean = total[fault] / len(likely)
    return fault if mean >= SIMILAR else None, mean, len(likely)
