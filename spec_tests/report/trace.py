"""Sentences, tests, stored vectors and faults belong together, and what the table of operations demands is asked."""

import ast
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_lowercase

from rich.box import HORIZONTALS
from rich.table import Table

from atlas_ref.errors import UserError
from spec_tests.discovery import files_of_tests
from spec_tests.faults.catalogue import CATALOGUE
from spec_tests.faults.fault import Fault
from spec_tests.report.asked import Asked, never_asked, suite
from spec_tests.report.manifest import read_manifest
from spec_tests.report.selection import takes_port
from spec_tests.report.sentences import Sentence, of_clause, read_sentences
from spec_tests.selfproof.listed import entries


@dataclass(frozen=True)
class NamedTest:
    """A test of a chapter: `module:function`, the sentences it names, and whether it asks a port."""

    name: str
    sentences: frozenset[str]
    asks: bool


@dataclass(frozen=True)
class Trace:
    """Everything that must fit together; `vectors` holds the sentences of each stored vector.

    `asked` is what stored vectors and tests ask of each operation (`spec_tests.report.asked`), `noticing` the tests
    that notice generated faults where no stored case does (`spec_tests.selfproof.listed`).
    """

    sentences: tuple[Sentence, ...]
    tests: tuple[NamedTest, ...]
    vectors: Mapping[str, Sequence[str]]
    faults: tuple[Fault, ...]
    asked: Asked
    noticing: frozenset[str] = frozenset()


def read_trace() -> Trace:
    """Return what the suite has; raise UserError where the chapters are not installed."""
    sentences = read_sentences()
    if not sentences:
        raise UserError("the text of the specification (docs/spec) is not installed here; run this in the source tree.")
    vectors = {entry.id: entry.requirements for entry in read_manifest().cases if entry.kind == "vector"}
    return Trace(
        sentences,
        tuple(read_tests()),
        vectors,
        CATALOGUE,
        suite(),
        frozenset(entry.says for entry in entries("noticed")),
    )


def read_tests() -> Iterator[NamedTest]:
    """Yield every test of a chapter that asks a port or names sentences."""
    for path in files_of_tests():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                test = NamedTest(f"{path.stem}:{node.name}", named(node), takes_port(node))
                if test.asks or test.sentences:
                    yield test


def named(function: ast.FunctionDef) -> frozenset[str]:
    """Return the sentences named by `@pytest.mark.spec(...)` above a function."""
    calls = [node for node in function.decorator_list if isinstance(node, ast.Call)]
    marks = [call for call in calls if ast.unparse(call.func) == "pytest.mark.spec"]
    return frozenset(str(ast.literal_eval(argument)) for mark in marks for argument in mark.args)


def problems(trace: Trace) -> Iterator[str]:
    """Yield one line for everything that stands alone, and for everything that the table demands and nobody asks."""
    yield from _sentence_problems(trace)
    yield from _clause_problems(trace)
    yield from _test_problems(trace)
    yield from _fault_problems(trace)
    yield from never_asked(trace.asked)


def _sentence_problems(trace: Trace) -> Iterator[str]:
    tested = {name for test in trace.tests for name in test.sentences}
    tested |= {name for names in trace.vectors.values() for name in names}
    broken = {of_clause(fault.requirement) for fault in trace.faults}
    for sentence in trace.sentences:
        if not sentence.id:
            yield f"docs/spec/{sentence.chapter}.md says MUST without a number: {sentence.text[:80]}"
    for name, times in Counter(sentence.id for sentence in trace.sentences if sentence.id).items():
        if times > 1:
            yield f"{name} is numbered {times} times"
        if name not in tested:
            yield f"{name} has no test"
        if name not in broken:
            yield f"{name} has no fault"


def _clause_problems(trace: Trace) -> Iterator[str]:
    broken = {fault.requirement for fault in trace.faults}
    for sentence in trace.sentences:
        letters = [name.removeprefix(sentence.id) for name in sentence.clauses]
        if len(letters) > 1 and letters != list(ascii_lowercase[: len(letters)]):
            yield f"{sentence.id} has clauses {', '.join(letters)}, which is not a, b and so on"
        elif len(letters) > 1:
            yield from (f"{name} has no fault" for name in sentence.clauses if name not in broken)


def _test_problems(trace: Trace) -> Iterator[str]:
    known = {sentence.id for sentence in trace.sentences}
    killers = {fault.killed_by for fault in trace.faults} | trace.noticing
    named_by: dict[str, Sequence[str]] = {
        **trace.vectors,
        **{test.name: sorted(test.sentences) for test in trace.tests},
    }
    asking = {test.name for test in trace.tests if test.asks}
    for name, sentences in named_by.items():
        if not sentences and (name in asking or name in trace.vectors):
            yield f"{name} names no sentence"
        for sentence in sentences:
            if sentence not in known:
                yield f"{name} names {sentence}, which no chapter has"
        if name in asking and name not in killers:
            yield f"{name} kills no fault"


def _fault_problems(trace: Trace) -> Iterator[str]:
    held = {test.name: test.sentences for test in trace.tests}
    known = {name for sentence in trace.sentences for name in (sentence.id, *sentence.clauses)}
    for fault in trace.faults:
        if fault.requirement not in known:
            yield f"fault {fault.id} breaks {fault.requirement}, which no chapter has"
        if fault.killed_by not in held:
            yield f"fault {fault.id} is claimed by {fault.killed_by}, which is no test"
        elif of_clause(fault.requirement) not in held[fault.killed_by]:
            yield f"fault {fault.id} breaks {fault.requirement}, which {fault.killed_by} does not hold"


def behind(trace: Trace, sentence: Sentence) -> dict[str, list[str]]:
    """Return the names of the tests, stored vectors and faults that stand behind a sentence."""
    return {
        "test": [test.name for test in trace.tests if sentence.id in test.sentences],
        "vector": [name for name, names in trace.vectors.items() if sentence.id in names],
        "fault": [fault.id for fault in trace.faults if of_clause(fault.requirement) == sentence.id],
    }


def lines(trace: Trace) -> Iterator[str]:
    """Yield a line for each thing behind each sentence, for files and for tools that look for words in lines."""
    for sentence in trace.sentences:
        for kind, names in behind(trace, sentence).items():
            yield from (f"{sentence.id}  {kind}  {name}" for name in names)


def table(trace: Trace) -> Table:
    """Return sentence by sentence what stands behind it."""
    shown = Table("sentence", header_style="bold", box=HORIZONTALS, show_lines=True)
    for name in ("tests", "vectors", "faults"):
        shown.add_column(name, overflow="fold")
    for sentence in trace.sentences:
        tests, vectors, faults = behind(trace, sentence).values()
        shown.add_row(sentence.id or "(none)", "\n".join(tests), " ".join(vectors), "\n".join(faults))
    return shown
