"""JUnit XML from a report, for build servers: one suite a level; what did not run or is unsupported is skipped."""

import re
from typing import Final
from xml.etree import ElementTree

from spec_tests.contract.outcome import Outcome
from spec_tests.report.model import LEVELS, Report, Result

_FORBIDDEN: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render_junit(report: Report) -> str:
    """Return the report as JUnit XML."""
    root = ElementTree.Element("testsuites", name=_clean(f"ATLAS {report.spec_version}: {report.declaration.name}"))
    for count in report.levels:
        results = [result for result in report.results if result.level == count.level]
        suite = ElementTree.SubElement(root, "testsuite", name=f"L{count.level} {LEVELS[count.level]}")
        suite.set("tests", str(len(results)))
        suite.set("failures", str(count.failed + count.blocked))
        suite.set("errors", str(count.errors))
        suite.set("skipped", str(count.unsupported + count.not_run))
        for result in results:
            suite.append(_case(result))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _case(result: Result) -> ElementTree.Element:
    place = ".".join(result.operations) or result.kind
    case = ElementTree.Element("testcase", classname=place, name=_clean(result.id), time=str(result.seconds))
    if result.outcome is not Outcome.PASS:
        kind = "error" if result.outcome is Outcome.ERROR else "failure" if result.failed else "skipped"
        first_line = result.reason.strip().partition("\n")[0]
        fate = ElementTree.SubElement(case, kind, type=result.outcome, message=_clean(first_line))
        fate.text = _clean(f"{result.reason}\nrerun: {result.rerun}" if result.failed else result.reason)
    return case


def _clean(text: str) -> str:
    """Return a text without the characters that XML cannot hold."""
    return _FORBIDDEN.sub("?", text)
