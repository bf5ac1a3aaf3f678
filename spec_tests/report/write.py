"""The four files of a report. `report.json` is the source; the others can be made from it."""

import json
from pathlib import Path
from typing import Any, Final

from spec_tests.report.badge import render_badge
from spec_tests.report.html import render_html
from spec_tests.report.junit import render_junit
from spec_tests.report.model import Report
from spec_tests.report.sentences import read_sentences

FILES: Final = ("report.json", "junit.xml", "report.html", "badge.svg")
SCHEMA: Final = Path(__file__).with_name("schema.json")


def write_report(report: Report, directory: Path) -> None:
    """Write report.json, junit.xml, report.html and badge.svg; OSError where the directory cannot be written."""
    directory.mkdir(parents=True, exist_ok=True)
    texts = (
        report.model_dump_json(indent=1) + "\n",
        render_junit(report),
        render_html(report, read_sentences()),
        render_badge(report),
    )
    for name, text in zip(FILES, texts, strict=True):
        # A lone surrogate, which a port may put into a message, has no UTF-8.
        (directory / name).write_text(text, encoding="utf-8", errors="replace")


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of `report.json`."""
    return Report.model_json_schema(mode="serialization")


def write_schema() -> None:
    """Write the schema beside this file."""
    SCHEMA.write_text(json.dumps(json_schema(), indent=1) + "\n")
