"""The two tables of the page that say where a port stands: operations by precision, and sentence by sentence."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from spec_tests.contract.operations import OPERATIONS
from spec_tests.contract.outcome import Outcome
from spec_tests.port import Numerics, Op
from spec_tests.report.elements import Html, cell, element, join, prose, row, table, text, tone
from spec_tests.report.model import Asked, Report, Result
from spec_tests.report.sentences import Sentence

SHOWN: Final = 12
"""Links to failures in one cell of a table."""
Pair = tuple[Op, Numerics]


def anchor(result: Result) -> str:
    """Return the name under which a case stands on the page."""
    return f"case-{''.join(letter if letter.isalnum() else '-' for letter in result.id)}"


def link(result: Result, words: str) -> Html:
    """Return a link to a case of this page."""
    return element("a", text(words), href=f"#{anchor(result)}", title=result.id)


def counted_for(result: Result) -> set[Pair]:
    """Return the operations and precisions for which a case counts.

    A property that passes counts wherever it asked. One that failed counts where it stopped: what it had asked before
    is not shown to be right, nor wrong.
    """
    asked: Iterable[Asked] = (result.last,) if result.failed and result.last else result.asked
    return {(pair.operation, pair.numerics) for pair in asked}


def matrix(report: Report) -> Html:
    """Return operations by precision: how many cases passed of those that count there, with links to failures."""
    asked = {op for each in report.results for op in each.operations if OPERATIONS[op].level <= report.level}
    ops = sorted(asked, key=lambda op: (OPERATIONS[op].level, list(Op).index(op)))
    counting: dict[Pair, list[Result]] = defaultdict(list)
    for result in report.results:
        for pair in counted_for(result):
            counting[pair].append(result)
    rows = (_operation(op, {each: counting[op, each] for each in report.numerics}) for op in ops)
    note = "A property that asks several operations or precisions counts in each; one that failed, where it stopped."
    heading = Html(element("h2", text("Operations by precision")) + element("p", text(note), class_="quiet"))
    return Html(heading + table(("Level", "Operation", *report.numerics), rows, "matrix"))


def _operation(op: Op, counting: Mapping[Numerics, Sequence[Result]]) -> Html:
    cells = (_count(results) for results in counting.values())
    return row(cell(text(f"L{OPERATIONS[op].level}")), cell(element("code", text(op)), "id"), *cells)


def _count(results: Sequence[Result]) -> Html:
    if not results:
        return cell(element("span", text("not asked here"), class_="quiet"))
    counts = Counter(result.outcome for result in results)
    passed = text(f"{counts.pop(Outcome.PASS, 0)} of {len(results)} passed")
    rest = join((text(f"{number} {outcome}") for outcome, number in counts.items()), ", ")
    worst = "bad" if any(tone(result) == "bad" for result in results) else "part" if counts else "good"
    failed = [result for result in results if result.failed]
    links = join((link(result, str(number)) for number, result in enumerate(failed[:SHOWN], 1)), " ")
    more = text(f" and {len(failed) - SHOWN} more") if len(failed) > SHOWN else Html("")
    lines = [passed, rest, Html(f"see {links}{more}") if failed else Html("")]
    return cell(join((line for line in lines if line), "<br>"), worst)


def requirements(report: Report, sentences: Sequence[Sentence]) -> Html:
    """Return every sentence that a case of this run holds, with its text and what became of its cases."""
    texts = {sentence.id: sentence for sentence in sentences if sentence.id}
    held: dict[str, list[Result]] = defaultdict(list)
    for result in report.results:
        for name in dict.fromkeys(result.requirements):
            held[name].append(result)
    names = [name for name in texts if name in held] + sorted(held.keys() - texts.keys())
    rows = (_requirement(name, texts.get(name), held[name]) for name in names)
    heading = element("h2", text("Requirements"))
    return Html(heading + table(("Sentence", "Text", "Cases", "Did not pass"), rows))


def _requirement(name: str, sentence: Sentence | None, here: Sequence[Result]) -> Html:
    open_ = [result for result in here if result.outcome is not Outcome.PASS]
    worst = "bad" if any(tone(result) == "bad" for result in open_) else "part" if open_ else "good"
    links = join((link(result, f"{result.id} ({result.outcome})") for result in open_[:SHOWN]), "<br>")
    more = text(f" and {len(open_) - SHOWN} more") if len(open_) > SHOWN else Html("")
    return row(
        cell(element("strong", text(name)), "id"),
        cell(prose(sentence.text if sentence else "The text of the specification is not installed here."), "long"),
        cell(text(f"{len(here) - len(open_)} of {len(here)} passed"), f"id {worst}"),
        cell(Html(links + more), "long"),
        id_=f"sentence-{name}",
    )
