"""One page about one port, for a person: no script, no outside resource, light and dark."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from atlas_ref.wording import counted
from spec_tests.report.elements import Html, bullets, cell, definitions, element, join, row, table, text
from spec_tests.report.model import LEVELS, LevelCount, Report, Verdict
from spec_tests.report.page_cases import all_cases, causes, failures, not_passed
from spec_tests.report.page_tables import matrix, requirements
from spec_tests.report.sentences import Sentence

CSS: Final = Path(__file__).with_name("page.css")
MEANING: Final = {
    Verdict.CONFORMANT: "Every case of the levels and precisions asked passed.",
    Verdict.FAILED: "At least one case failed that no list of expected failures names.",
    Verdict.INCOMPLETE: "Nothing failed unexpectedly, but not every case passed: this is not conformance.",
    Verdict.INTEGRITY: "The suite itself is not whole, so this run proves nothing.",
    Verdict.STALE: "The list of expected failures is not true of this port.",
}
TONES: Final = {Verdict.CONFORMANT: "good", Verdict.INCOMPLETE: "part"}


def render_html(report: Report, sentences: Sequence[Sentence]) -> str:
    """Return the page."""
    title = text(f"{report.declaration.name}: {report.verdict} with ATLAS spec {report.spec_version}")
    head = Html(
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>\n{CSS.read_text()}</style>"
    )
    parts = (header(report), levels(report), complaints(report), causes(report), matrix(report))
    more = (
        failures(report, sentences),
        not_passed(report),
        requirements(report, sentences),
        all_cases(report),
        footer(report),
    )
    body = join((*parts, *more), "\n")
    return f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>\n{body}\n</body>\n</html>\n'


def header(report: Report) -> Html:
    """Return what was tested, against what, and the verdict."""
    port = report.declaration
    asked = f"{'L0 to ' if report.level else ''}L{report.level} in {', '.join(report.numerics)}"
    reached = "none" if report.reached is None else f"L{report.reached} ({LEVELS[report.reached]})"
    facts = {
        "Asked": asked if report.whole else f"{asked}, of which only a selection ran",
        "Whole up to": reached,
        "Port": f"{port.name} {port.version}, {port.language}; declares spec {port.spec_version}",
        "Loaded as": report.port,
        "Declares": f"{counted(len(port.operations), 'operation')}; precisions {', '.join(port.numerics) or 'none'}; "
        f"capabilities {', '.join(port.capabilities) or 'none'}; matmul precision {port.matmul_precision}",
    }
    limits = [f"{key} {' and '.join(values)} only" for key, values in port.only.items()]
    limits += [f"{axis} up to {length}" for axis, length in port.longest.items()]
    limits += [f"without {feature}" for feature in port.without]
    facts |= {"Limits": "; ".join(limits)} if limits else {}
    verdict = element(
        "div", text(str(report.verdict).capitalize()), class_=f"verdict {TONES.get(report.verdict, 'bad')}"
    )
    return Html(
        element("h1", text(f"{port.name} and ATLAS spec {report.spec_version}"))
        + verdict
        + element("p", text(MEANING[report.verdict]))
        + definitions(facts)
    )


def levels(report: Report) -> Html:
    """Return the counts by level."""
    head = ("Level", "Passed", "Failed", "Error", "Unsupported", "Blocked", "Not run", "In the manifest")
    rows = (_level(count) for count in report.levels)
    return Html(element("h2", text("Levels")) + table(head, rows, "counts"))


def _level(count: LevelCount) -> Html:
    whole = count.defined > 0 and count.passed == count.defined
    known = f" ({count.known} expected)" if count.known else ""
    return row(
        cell(text(f"L{count.level} {LEVELS[count.level]}")),
        cell(text(count.passed), "number good" if whole else "number"),
        _wrong(count.failed, "bad", known),
        _wrong(count.errors, "bad"),
        _wrong(count.unsupported, "part"),
        _wrong(count.blocked, "bad"),
        _wrong(count.not_run, "part"),
        cell(text(count.defined), "number"),
    )


def _wrong(number: int, colour: str, more: str = "") -> Html:
    return cell(text(f"{number}{more}"), f"number {colour if number else 'quiet'}")


def complaints(report: Report) -> Html:
    """Return what is wrong beside the cases: the suite, the list of expected failures, the declaration."""
    understated = [f"answers {name}, which it declares absent" for name in report.understated]
    groups = (
        ("The suite is not whole", report.problems),
        ("The run was given up", (report.given_up,) if report.given_up else ()),
        ("The list of expected failures is out of date", report.stale),
        ("The declaration understates the port", understated),
    )
    return join(Html(element("h2", text(name)) + bullets(lines)) for name, lines in groups if lines)


def footer(report: Report) -> Html:
    """Return what the numbers were made with."""
    machine = report.machine
    facts = {
        "Suite": f"{report.suite_version}, manifest sha256 {report.manifest_sha256}",
        "Machine": f"{machine.platform}, {counted(machine.processors, 'processor')}",
        "Python": f"{machine.python}, numpy {machine.numpy}",
        "Run": f"{report.started}, {float(report.seconds):.1f} s",
    }
    return element("footer", definitions(facts))
