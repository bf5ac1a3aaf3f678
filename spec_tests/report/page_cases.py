"""The parts of the page that show single cases: each failure in full, the rest in tables."""

from collections import Counter
from collections.abc import Iterator, Sequence

from atlas_ref.wording import visible
from spec_tests.contract.outcome import Outcome
from spec_tests.report.elements import Html, cell, definitions, element, join, prose, row, table, tag, text
from spec_tests.report.model import Cause, FirstDivergence, Report, Result
from spec_tests.report.page_tables import SHOWN, anchor, link
from spec_tests.report.sentences import Sentence
from spec_tests.report.telling import headline, likeness


def failures(report: Report, sentences: Sequence[Sentence]) -> Html:
    """Return one card a failure: what is broken by itself first, then what only follows, then what was expected."""
    failed = sorted((result for result in report.results if result.failed), key=_order)
    if not failed:
        return Html("")
    texts = {sentence.id: sentence.text for sentence in sentences}
    heading = element("h2", text(f"Failures ({len(failed)})"))
    return Html(heading + join(_card(result, texts) for result in failed))


def causes(report: Report) -> Html:
    """Return what went wrong in one table, one row a cause with links to its cases."""
    if not report.causes:
        return Html("")
    by_name = {visible(result.id): result for result in report.results}
    rows = (_cause(cause, [by_name[name] for name in cause.cases]) for cause in report.causes)
    return Html(element("h2", text(f"Causes ({len(report.causes)})")) + table(("Outcome", "What", "Cases"), rows))


def _cause(cause: Cause, results: Sequence[Result]) -> Html:
    links = join((link(result, result.id) for result in results[:SHOWN]), "<br>")
    more = text(f" and {len(results) - SHOWN} more") if len(results) > SHOWN else Html("")
    lines = [text(headline(cause, results[0])), *([text(likeness(cause))] if likeness(cause) else [])]
    return row(cell(tag(results[0])), cell(join(lines, "<br>"), "long"), cell(Html(links + more), "long"))


def _order(result: Result) -> tuple[bool, bool, tuple[int, str, int]]:
    return result.known is not None, result.blocked_by is not None, result.place


def _card(result: Result, texts: dict[str, str]) -> Html:
    title = element("h3", Html(tag(result) + element("span", text(result.id))))
    parts = (
        title,
        definitions(dict(_facts(result))),
        element("pre", text(result.reason)) if result.reason else Html(""),
        _sentences(result.requirements, texts),
        Html(element("span", text("Rerun alone:"), class_="quiet") + element("pre", text(result.rerun)))
        if result.rerun
        else Html(""),
    )
    class_ = "card known" if result.known is not None else "card"
    return element("section", join(parts), class_=class_, id_=anchor(result))


def _sentences(names: Sequence[str], texts: dict[str, str]) -> Html:
    """Return the sentences at stake; more than two are folded away."""
    rules = join(_sentence(name, texts.get(name, "")) for name in names)
    if len(names) <= 2:
        return rules
    fold = element("summary", text(f"{len(names)} sentences: {', '.join(names)}"))
    return element("details", Html(fold + rules))


def _sentence(name: str, words: str) -> Html:
    number = element("a", text(name), href=f"#sentence-{name}")
    return element("blockquote", Html(f"{number} {prose(words)}"))


def _facts(result: Result) -> Iterator[tuple[str, str]]:
    yield "Level", f"L{result.level}"
    if result.last:
        config = ", ".join(f"{name}={value}" for name, value in result.last.config.items())
        yield "Last call", f"{result.last.operation} in {result.last.numerics}" + (f" with {config}" if config else "")
    if result.blocked_by:
        yield "Blocked by", f"{result.blocked_by}: every case that asks it alone went wrong, so mend that first"
    if result.known is not None:
        yield "Expected", result.known
    if result.divergence:
        yield from _divergence(result.divergence)


def _divergence(found: FirstDivergence) -> Iterator[tuple[str, str]]:
    at = "" if found.step is None else f" at step {found.step}"
    yield "First divergence", f"{found.tensor}{at}: error {found.error:.3g}, budget {found.budget:.3g}"
    yield "Worst element", f"{found.tensor}{list(found.index)} is {found.got:.9g}, expected {found.expected:.9g}"
    yield "Upstream equal", ", ".join(found.upstream) or "nothing upstream was compared"
    if found.hint:
        likeness = "" if found.similarity is None else f" (cosine {found.similarity:.2f})"
        yield "Hint, not a verdict", f"the error points like that of the seeded fault {found.hint}{likeness}"


def not_passed(report: Report) -> Html:
    """Return what is neither passed nor failed, counted by reason, and what the port does not show."""
    rows = [*_grouped(report, Outcome.UNSUPPORTED), *_grouped(report, Outcome.NOT_RUN)]
    untapped = Counter(
        f"{name} of {op}" for result in report.results for name in result.untapped for op in result.operations[:1]
    )
    shown = [row(cell(text("untapped")), cell(text(name), "long"), _number(n)) for name, n in sorted(untapped.items())]
    if report.not_asked:
        reason = f"in levels above L{report.level} or in precisions that were not asked"
        rows.append(row(cell(text("not asked")), cell(text(reason), "long"), _number(report.not_asked)))
    if left_out := sum(result.left_out for result in report.results):
        reason = "questions of properties that the declaration excludes"
        rows.append(row(cell(text("left out")), cell(text(reason), "long"), _number(left_out)))
    heading = element("h2", text("Neither passed nor failed"))
    if not rows and not shown:
        return Html(
            heading + element("p", text("Nothing: every case ran, and the port shows every intermediate value."))
        )
    return Html(heading + table(("What", "Why", "Cases"), [*rows, *shown]))


def _grouped(report: Report, outcome: Outcome) -> list[Html]:
    reasons = Counter(result.reason for result in report.results if result.outcome is outcome)
    return [row(cell(text(outcome)), cell(text(why), "long"), _number(n)) for why, n in reasons.most_common()]


def _number(number: int) -> Html:
    return cell(text(number), "number")


def all_cases(report: Report) -> Html:
    """Return every case in one table, folded away."""
    rows = (_line(result) for result in report.results)
    inner = table(("Level", "Case", "Outcome", "Sentences", "Seconds"), rows)
    fold = element("summary", text(f"Every case of this run ({len(report.results)})"))
    return Html(element("h2", text("All cases")) + element("details", Html(fold + inner)))


def _line(result: Result) -> Html:
    # A failure has its card, which bears the name already.
    return row(
        cell(text(f"L{result.level}")),
        cell(text(result.id), "long"),
        cell(tag(result)),
        cell(text(", ".join(result.requirements))),
        cell(text(f"{float(result.seconds):.2f}"), "number"),
        id_="" if result.failed else anchor(result),
    )
