"""From one pytest item that asks a port to its result.

A stored vector is an item with `pytest.mark.case(id, level, op, numerics, requirements)`. Every other test of a chapter
that takes the fixture `port` is a property; its requirements are those of `pytest.mark.spec(...)`.
"""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from atlas_ref.wording import visible
from spec_tests.contract.contain import LONGEST, message_of
from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.outcome import DivergenceError, Outcome, classify
from spec_tests.contract.version import FIRST
from spec_tests.port import Numerics, Op
from spec_tests.report.assemble import pairs
from spec_tests.report.manifest import SUITE, Entry
from spec_tests.report.model import FAILURES, Asked, FirstDivergence, LastCall, Result
from spec_tests.report.options import drawn_from, option
from spec_tests.report.scope import GRADIENT_LEVEL, TOP, ScopedPort
from spec_tests.report.selection import places_that_ask
from spec_tests.tally import TALLY

UNTAPPED: Final = "untapped"
"""The pytest property under which a vector names a tap that the port does not show, one a tap."""


def readable(text: str) -> str:
    """Return a text that can be written and printed and is not endless, whatever a port put into it."""
    return visible(text[:LONGEST], lines=True)[:LONGEST]


@dataclass(frozen=True)
class CaseMark:
    """The arguments of `pytest.mark.case`."""

    id: str
    level: int
    op: Op
    numerics: Numerics
    requirements: tuple[str, ...]


def case_mark(item: pytest.Item) -> CaseMark | None:
    """Return what a stored vector says about itself, None for any other item."""
    mark = item.get_closest_marker("case")
    return CaseMark(*mark.args, **mark.kwargs) if mark else None


def is_case(item: pytest.Item) -> bool:
    """Return whether an item is a conformance case: a test of a chapter or of the vectors that takes a port."""
    return isinstance(item, pytest.Function) and "port" in item.fixturenames and item.path in places_that_ask()


def case_id(item: pytest.Item) -> str:
    """Return the permanent id of a case."""
    mark = case_mark(item)
    return f"{mark.id}/{mark.numerics}" if mark else f"{item.path.stem}:{item.name}"


def first_of(error: BaseException) -> BaseException:
    """Return the first of several errors that a property raised together, or the error itself."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def result_of(item: pytest.Item, call: pytest.CallInfo[None], port: ScopedPort, entry: Entry | None) -> Result:
    """Return the result of a case that ran; `entry` is its line of the manifest."""
    mark = case_mark(item)
    error = first_of(call.excinfo.value) if call.excinfo else None
    outcome, reason = _fate(error, call.when)
    return Result(
        id=case_id(item),
        kind="vector" if mark else "property",
        level=level_of_case(mark, port, entry, failed=outcome in FAILURES),
        requirements=mark.requirements if mark else spec_ids(item),
        outcome=outcome,
        asked=port.asked or _owed(mark, entry),
        last=port.last,
        gradients=port.gradients,
        reason=readable(reason),
        divergence=FirstDivergence.of(error.divergence) if isinstance(error, DivergenceError) else None,
        left_out=TALLY.absent.total(),
        untapped=tuple(str(value) for name, value in item.user_properties if name == UNTAPPED),
        rerun=rerun(str(option(item.config, "--port")), item.nodeid, drawn_from(item.config)),
        seconds=round(call.duration, 4),
        since=since(item, entry),
    )


def spec_ids(item: pytest.Item) -> tuple[str, ...]:
    """Return the sentences that a property holds."""
    return tuple(dict.fromkeys(str(name) for mark in item.iter_markers("spec") for name in mark.args))


def rerun(port: str, node: str, seed: int | None) -> str:
    """Return the command that asks one case alone, wherever the suite is installed; `node` is pytest's name of it.

    `seed`: that of a run that explores.
    """
    file, _, test = node.partition("::")
    module = ".".join(Path(file[file.index(SUITE.name) :]).with_suffix("").parts)
    plugin = ["-p", "spec_tests.report.plugin"]
    explore = [] if seed is None else ["--explore", "--seed", str(seed)]
    return shlex.join(["python", "-m", "pytest", *plugin, "--pyargs", f"{module}::{test}", "--port", port, *explore])


def crashed(name: str, node: str, port: str, entry: Entry | None, reason: str, seed: int | None) -> Result:
    """Return the result of a case during which the process of the suite died; `node` is pytest's name of it."""
    vector = entry is not None and entry.kind == "vector"
    return Result(
        id=name,
        kind="vector" if vector else "property",
        level=entry.level if entry else TOP,
        requirements=entry.requirements if entry else (),
        outcome=Outcome.ERROR,
        asked=pairs(entry, list(Numerics)) if entry else (),
        reason=readable(reason),
        rerun=rerun(port, node, seed),
    )


def _fate(error: BaseException | None, when: str) -> tuple[Outcome, str]:
    if error is None:
        return Outcome.PASS, ""
    if isinstance(error, pytest.skip.Exception):
        return (Outcome.UNSUPPORTED if when == "call" else Outcome.NOT_RUN), str(error)
    return classify(error), message_of(error) or type(error).__name__


def level_of_case(mark: CaseMark | None, port: ScopedPort, entry: Entry | None, *, failed: bool) -> int:
    """Return the level of a case; that of the call where it stopped for a property that failed above its own.

    A property asks each form of an operation that the port has; the level of the case is that of the lowest.
    """
    if not (entry or mark):
        return max(levels_asked(port.asked, port.gradients), default=0)
    own = entry.level if entry else mark.level if mark else TOP
    return max(own, level_of(port.last)) if failed and port.last and not mark else own


def level_of(call: LastCall) -> int:
    """Return the level of one call: that of its operation, or of gradients."""
    level = OPERATIONS[call.operation].level
    return max(level, GRADIENT_LEVEL) if call.gradients else level


def since(item: pytest.Item, entry: Entry | None) -> str:
    """Return the first version of the specification that has a case."""
    mark = item.get_closest_marker("since")
    return str(mark.args[0]) if mark else entry.since if entry else FIRST


def levels_asked(asked: tuple[Asked, ...], gradients: bool) -> Iterator[int]:
    """Yield the level of each operation asked, and that of gradients if they were."""
    yield from (OPERATIONS[pair.operation].level for pair in asked)
    if gradients:
        yield GRADIENT_LEVEL


def _owed(mark: CaseMark | None, entry: Entry | None) -> tuple[Asked, ...]:
    if mark:
        return (Asked(operation=mark.op, numerics=mark.numerics),)
    return pairs(entry, list(Numerics)) if entry else ()
