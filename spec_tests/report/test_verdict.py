"""What a run may be called, and the exit code of each: nothing but a whole run in which all passed is conformant."""

from collections.abc import Callable

import pytest

from spec_tests.contract.outcome import Outcome
from spec_tests.port import Numerics, Op
from spec_tests.report.collect import crashed
from spec_tests.report.manifest import Entry
from spec_tests.report.model import Report, Verdict
from spec_tests.report.samples import entry, manifest_of, report, result
from spec_tests.report.scope import Scope
from spec_tests.report.xfail import Expected

PASSED = result("test_a:test_passes")
OTHER = "test_a:test_other"
LISTED = {OTHER: Expected.model_validate({"reason": "known", "class": "fail"})}
BOTH = manifest_of([PASSED, result(OTHER)])

EXIT_CODES: dict[str, tuple[int, Callable[[], Report]]] = {
    "all passed": (0, lambda: report(PASSED, result("ATL-NS-001/f32"))),
    "one failed": (1, lambda: report(PASSED, result(OTHER, Outcome.FAIL))),
    "one is an error": (1, lambda: report(PASSED, result(OTHER, Outcome.ERROR))),
    "one is declared and then unsupported": (1, lambda: report(PASSED, result(OTHER, Outcome.UNDECLARED))),
    "one is unsupported": (3, lambda: report(PASSED, result(OTHER, Outcome.UNSUPPORTED))),
    "all are unsupported": (3, lambda: report(result(OTHER, Outcome.UNSUPPORTED))),
    "one did not run": (3, lambda: report(PASSED, manifest=BOTH, collected=[PASSED.id, OTHER])),
    "one was not selected": (3, lambda: report(PASSED, manifest=BOTH, whole=False)),
    "one failed that is listed": (3, lambda: report(PASSED, result(OTHER, Outcome.FAIL), expected=LISTED)),
    "a whole run collected too few": (4, lambda: report(PASSED, manifest=BOTH)),
    "a whole run collected too many": (4, lambda: report(PASSED, result(OTHER), manifest=manifest_of([PASSED]))),
    "nothing was collected": (4, lambda: report(manifest=BOTH, collected=[], whole=False)),
    "there is nothing to collect": (4, lambda: report()),
    "files were changed": (4, lambda: report(PASSED, problems=("data was changed",))),
    "a broken suite and a failure": (4, lambda: report(result(OTHER, Outcome.FAIL), problems=("data was changed",))),
    "one passed that is listed": (5, lambda: report(PASSED, result(OTHER), expected=LISTED)),
    "a stale list and an unlisted failure": (
        1,
        lambda: report(result(PASSED.id, Outcome.FAIL), result(OTHER), expected=LISTED),
    ),
}


@pytest.mark.parametrize("case", EXIT_CODES)
def test_the_exit_code_says_what_became_of_the_run(case: str) -> None:
    expected, make = EXIT_CODES[case]
    assert make().verdict.exit_code == expected


def test_verdicts_and_exit_codes_are_one_to_one() -> None:
    assert {verdict: verdict.exit_code for verdict in Verdict} == {
        Verdict.CONFORMANT: 0,
        Verdict.FAILED: 1,
        Verdict.INCOMPLETE: 3,
        Verdict.INTEGRITY: 4,
        Verdict.STALE: 5,
    }


def test_a_case_that_asks_what_the_manifest_does_not_say_breaks_the_suite() -> None:
    asked = result(OTHER, op=Op.MEMORY_SCAN)
    counted = manifest_of([result(OTHER, op=Op.MEMORY_STEP)])
    assert report(asked, manifest=counted).problems == (f"{OTHER} asks memory_scan, which the manifest does not say",)


def test_every_level_counts_its_cases_out_of_the_manifest() -> None:
    manifest = manifest_of([result(f"test_a:test_{n}", level=n % 2) for n in range(7)])
    found = report(
        result("test_a:test_0"),
        result("test_a:test_1", Outcome.FAIL, level=1),
        result("test_a:test_2", Outcome.UNDECLARED),
        result("test_a:test_3", Outcome.ERROR, level=1),
        result("test_a:test_4", Outcome.UNSUPPORTED),
        result("test_a:test_5", Outcome.BLOCKED, level=1),
        manifest=manifest,
    )
    assert [count.line() for count in found.levels[:2]] == [
        "L0 primitives: passed 1 / failed 1 / error 0 / unsupported 1 / blocked 0 / not run 1 of 4 in the manifest",
        "L1 memory step: passed 0 / failed 1 / error 1 / unsupported 0 / blocked 1 / not run 0 of 3 in the manifest",
    ]


@pytest.mark.parametrize(("broken", "reached"), [(None, 6), (0, None), (3, 2), (6, 5)])
def test_a_port_reaches_the_level_up_to_which_everything_passed(broken: int | None, reached: int | None) -> None:
    made = [
        result(f"test_a:test_{level}", Outcome.UNSUPPORTED if level == broken else Outcome.PASS, level=level)
        for level in (0, 1, 2, 3, 5, 6)
    ]
    assert report(*made).reached == reached


@pytest.mark.parametrize(
    ("scope", "asked"),
    [
        (Scope(), ("low", "high", "ATL-X-1/f64", "ATL-X-1/bf16_io")),
        (Scope(level=1), ("low", "ATL-X-1/f64", "ATL-X-1/bf16_io")),
        (Scope(numerics=(Numerics.F64,)), ("ATL-X-1/f64",)),
        (Scope(level=0), ()),
    ],
)
def test_a_run_owes_the_cases_of_its_levels_and_precisions_and_counts_the_others(
    scope: Scope, asked: tuple[str, ...]
) -> None:
    vector = Entry(
        id="ATL-X-1",
        kind="vector",
        level=1,
        operations=(Op.MEMORY_STEP,),
        numerics=(Numerics.F64, Numerics.BF16_IO),
        requirements=("MEM-1",),
    )
    lines = (entry("low", 1, Op.MEMORY_STEP), entry("high", 2, Op.MEMORY_SCAN), vector)
    manifest = manifest_of([]).model_copy(update={"cases": lines})
    assert tuple(manifest.asked(scope)) == asked
    found = report(manifest=manifest, scope=scope, collected=asked)
    assert {each.id for each in found.results} == set(asked)
    assert found.not_asked == 4 - len(asked)


def test_a_case_during_which_the_process_died_is_an_error_that_can_be_rerun() -> None:
    line = entry("test_a:test_b", 2, Op.MEMORY_SCAN)
    found = crashed(line.id, "spec_tests/test_a.py::test_b", "my:Port", line, "worker 'gw0' crashed", 7)
    assert (found.outcome, found.level, found.operations) == (Outcome.ERROR, 2, (Op.MEMORY_SCAN,))
    assert found.rerun.endswith("--pyargs spec_tests.test_a::test_b --port my:Port --explore --seed 7")
