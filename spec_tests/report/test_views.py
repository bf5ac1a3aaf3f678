"""The JSON, and the three views of it: they say the same, and nothing that a port puts into a text gets out of it."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from spec_tests.contract.outcome import Outcome
from spec_tests.port import Declaration, Numerics, Op
from spec_tests.report.badge import render_badge
from spec_tests.report.collect import readable
from spec_tests.report.html import render_html
from spec_tests.report.junit import render_junit
from spec_tests.report.model import Report, Result
from spec_tests.report.samples import DIVERGENCE, NOTHING, report, result
from spec_tests.report.sentences import Sentence, read_sentences
from spec_tests.report.write import SCHEMA, json_schema, write_report

HOSTILE = "<script>alert('1')</script>\"&]]>\x00\x1b"
SENTENCES = (Sentence("NS-1", "The iteration MUST start at <X>.", "newton-schulz"),)


def hostile_port() -> Declaration:
    texts = ("name", "version", "language", "spec_version", "matmul_precision")
    changes = dict.fromkeys(texts, HOSTILE) | {"capabilities": frozenset({HOSTILE})}
    return Declaration(**{**vars(NOTHING), **changes})


def everything(declared: Declaration = NOTHING, words: str = "words") -> Report:
    """Return a report with every kind of outcome and of complaint, with `words` in every text that a port may give."""
    made = (
        result("ATL-NS-001/f32", Outcome.FAIL, reason=words, divergence=DIVERGENCE, basis=words),
        result("test_a:test_error", Outcome.ERROR, op=Op.SHORT_CONV, reason=words),
        result("test_a:test_absent", Outcome.UNSUPPORTED, reason=words),
        result("test_a:test_undeclared", Outcome.UNDECLARED, op=Op.M3_MIX, reason=words),
        Result(**{**dict(result("test_a:test_passes")), "untapped": (words,)}),
        result("test_a:test_late", Outcome.NOT_RUN, reason=words, level=2),
    )
    return report(*made, declared=declared, port=words, problems=(words,), understated=(words,))


def page(found: Report) -> str:
    return render_html(found, SENTENCES)


class Tags(HTMLParser):
    """Every tag of a page, every address it names, and the anchors it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.links: list[str] = []
        self.anchors: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)
        given = dict(attrs)
        self.links += [str(given[name]) for name in ("href", "src") if name in given]
        self.anchors += [str(given["id"])] if "id" in given else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_json_is_read_back_as_it_was() -> None:
    found = everything(hostile_port(), HOSTILE)
    text = found.model_dump_json()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert Report.model_validate_json(text).model_dump_json() == text
    assert [each.divergence for each in found.results if each.divergence] == [DIVERGENCE]


def test_the_schema_beside_the_package_is_that_of_the_report() -> None:
    assert json.loads(SCHEMA.read_text()) == json_schema()


def test_nothing_that_a_port_says_becomes_markup() -> None:
    text = page(everything(hostile_port(), HOSTILE))
    assert "<script" not in text
    assert "alert(&#x27;1&#x27;)" in text
    harmless = Tags(page(everything())).names
    assert Tags(text).names == harmless


def test_the_page_needs_nothing_from_outside_and_its_links_lead_somewhere() -> None:
    text = page(everything())
    tags = Tags(text)
    assert tags.open == []
    assert len(tags.anchors) == len(set(tags.anchors))
    assert all(link.startswith("#") for link in tags.links)
    assert {link.removeprefix("#") for link in tags.links} <= set(tags.anchors)
    assert not re.search(r"https?://|url\(|@import", text)
    assert "script" not in tags.names


def test_the_page_shows_first_divergence_upstream_hint_rerun_and_sentence() -> None:
    text = page(everything())
    for words in (
        "momentum at step 5: error inf, budget 3e-06",
        "momentum[3, 17] is nan, expected 0.25",
        "Upstream equal</dt><dd>gradient",
        "momentum-gate-previous-step (cosine 0.99)",
        "python -m pytest --pyargs ATL-NS-001/f32",
        "The iteration MUST start at &lt;X&gt;.",
    ):
        assert words in text


def test_what_did_not_pass_is_counted_where_it_can_be_seen() -> None:
    made = [result(f"test_a:test_{n}", Outcome.UNSUPPORTED, reason="no such operation") for n in range(7)]
    text = page(report(*made, result("test_a:test_z").model_copy(update={"untapped": ("gradient",)})))
    assert '<td>unsupported</td><td class="long">no such operation</td><td class="number">7</td>' in text
    assert '<td>untapped</td><td class="long">gradient of newton_schulz</td><td class="number">1</td>' in text
    assert "1 of 8 passed<br>7 unsupported" in text


def test_a_property_that_failed_counts_against_the_call_where_it_stopped() -> None:
    stopped = result("test_a:test_b", Outcome.FAIL, Op.MEMORY_SCAN, Numerics.F32)
    earlier = result("test_a:test_b", op=Op.MEMORY_SCAN, numerics=Numerics.F64)
    text = page(report(stopped.model_copy(update={"asked": (*earlier.asked, *stopped.asked)})))
    cells = re.search(r"memory_scan</code></td>(.*?)</tr>", text)
    assert cells
    assert [("bad" in cell, "not asked" in cell) for cell in cells[1].split("</td>")[:3]] == [
        (False, True),
        (True, False),
        (False, True),
    ]


def test_junit_counts_what_the_report_counts() -> None:
    found = everything(hostile_port(), HOSTILE)
    root = ElementTree.fromstring(render_junit(found))
    suites = {suite.get("name"): suite for suite in root}
    low = suites["L0 primitives"]
    assert [low.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["5", "2", "1", "1"]
    assert [case.get("name") for case in low] == [each.id for each in found.results if each.level == 0]
    kinds = {case.get("name"): [fate.tag for fate in case] for case in low}
    assert kinds["test_a:test_passes"] == []
    assert kinds["test_a:test_undeclared"] == ["failure"]
    assert kinds["test_a:test_absent"] == ["skipped"]


BADGES = {
    "L6 f64 f32 bf16_io": (result(), "#2d7d46"),
    "L6 f64 f32 bf16_io partial 0/1": (result(outcome=Outcome.UNSUPPORTED), "#946200"),
    "L6 f64 f32 bf16_io failed, 0/1 passed": (result(outcome=Outcome.FAIL), "#b3261e"),
}


@pytest.mark.parametrize("words", BADGES)
def test_the_badge_says_level_precisions_and_verdict(words: str) -> None:
    made, colour = BADGES[words]
    root = ElementTree.fromstring(render_badge(report(made)))
    assert root.get("aria-label") == f"ATLAS spec 0.1: {words}"
    assert [each.get("fill") for each in root.iter() if each.tag.endswith("rect")][-1] == colour


def test_four_files_are_written(tmp_path: Path) -> None:
    write_report(everything(hostile_port(), HOSTILE), tmp_path / "new" / "deep")
    names = sorted(path.name for path in (tmp_path / "new" / "deep").iterdir())
    assert names == ["badge.svg", "junit.xml", "report.html", "report.json"]


def test_a_reason_is_cut_and_can_be_written() -> None:
    text = readable("\ud800" + 10_000 * "x")
    assert len(text) == 4000
    assert text.startswith("\\ud800x")


def test_every_sentence_of_the_specification_reaches_the_page() -> None:
    sentences = [sentence for sentence in read_sentences() if sentence.id]
    made = result(requirements=tuple(sentence.id for sentence in sentences))
    text = render_html(report(made), sentences)
    assert len(sentences) > 50
    assert all(f'id="sentence-{sentence.id}"' in text for sentence in sentences)
    assert "The text of the specification is not installed here" not in text
