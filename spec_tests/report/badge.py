"""A small picture with the verdict, for a README. It names the level and the precisions that the run asked."""

from typing import Final
from xml.sax.saxutils import escape

from spec_tests.report.model import Report, Verdict

GREEN, AMBER, RED, GREY = "#2d7d46", "#946200", "#b3261e", "#4a5058"
COLOURS: Final = {Verdict.CONFORMANT: GREEN, Verdict.INCOMPLETE: AMBER}
CHARACTER: Final = 6.7
"""Width of a character, about, in the font named below."""


def texts(report: Report) -> tuple[str, str]:
    """Return the left and the right half of the badge."""
    asked = " ".join([f"L{report.level}", *report.numerics])
    passed = sum(count.passed for count in report.levels)
    defined = sum(count.defined for count in report.levels)
    right = {
        Verdict.CONFORMANT: asked,
        Verdict.INCOMPLETE: f"{asked} partial {passed}/{defined}",
        Verdict.FAILED: f"{asked} failed, {passed}/{defined} passed",
    }
    return f"ATLAS spec {report.spec_version}", right.get(report.verdict, f"{asked} invalid run")


def render_badge(report: Report) -> str:
    """Return the badge as SVG."""
    left, right = texts(report)
    split, whole = _width(left), _width(left) + _width(right)
    colour = COLOURS.get(report.verdict, RED)
    label = escape(f"{left}: {right}", {'"': "&quot;"})
    return f"""<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="20" role="img" aria-label="{label}">
<title>{escape(left)}: {escape(right)}</title>
<clipPath id="r"><rect width="{whole}" height="20" rx="3"/></clipPath>
<g clip-path="url(#r)">
<rect width="{split}" height="20" fill="{GREY}"/><rect x="{split}" width="{whole - split}" height="20" fill="{colour}"/>
</g>
<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">
<text x="{split / 2}" y="14" textLength="{split - 12}">{escape(left)}</text>
<text x="{(split + whole) / 2}" y="14" textLength="{whole - split - 12}">{escape(right)}</text>
</g>
</svg>
"""


def _width(text: str) -> int:
    return round(CHARACTER * len(text)) + 12
