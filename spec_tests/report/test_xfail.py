"""The list of expected failures is strict both ways."""

from pathlib import Path

import pytest

from atlas_ref.errors import UserError
from spec_tests.contract.outcome import Outcome
from spec_tests.report.model import Result
from spec_tests.report.samples import DIVERGENCE, manifest_of, report, result
from spec_tests.report.xfail import Expected, read_expected, write_expected

NAME = "ATL-NS-001/f32"
DIVERGES = result(NAME, Outcome.FAIL, divergence=DIVERGENCE, reason="off\nby a lot")


def listed(failure: str, name: str = NAME) -> dict[str, Expected]:
    return {name: Expected.model_validate({"reason": "TF32", "class": failure})}


@pytest.mark.parametrize("failure", ["fail", "divergence@tensor=momentum"])
def test_a_case_that_fails_as_listed_is_known_and_no_more(failure: str) -> None:
    found = report(DIVERGES, expected=listed(failure))
    assert (found.stale, found.verdict.exit_code, found.results[0].known) == ((), 3, "TF32")
    assert found.levels[0].known == 1


STALE = {
    "passes": (result(NAME), "fail", "passes"),
    "diverges elsewhere": (DIVERGES, "divergence@tensor=weights", "is divergence@tensor=momentum"),
    "fails without a divergence": (result(NAME, Outcome.FAIL), "divergence@tensor=momentum", "is fail"),
    "raises": (result(NAME, Outcome.ERROR), "fail", "is error"),
    "is unsupported": (result(NAME, Outcome.UNSUPPORTED), "fail", "did not run"),
}


@pytest.mark.parametrize("case", STALE)
def test_a_listed_case_with_another_fate_makes_the_list_stale(case: str) -> None:
    made, failure, words = STALE[case]
    found = report(made, expected=listed(failure))
    assert len(found.stale) == 1
    assert found.stale[0].startswith(NAME)
    assert words in found.stale[0]
    assert found.results[0].known is None
    assert found.verdict.exit_code == (1 if made.failed else 5)


def test_a_listed_case_that_the_suite_does_not_have_makes_the_list_stale() -> None:
    found = report(result(NAME), expected=listed("fail", "ATL-NO-001/f32"))
    assert found.stale == ("ATL-NO-001/f32 is listed, but the suite has no such case",)
    assert found.verdict.exit_code == 5


def test_a_listed_case_that_a_whole_run_did_not_reach_makes_the_list_stale() -> None:
    other = result("ATL-NS-002/f32")
    manifest = manifest_of([DIVERGES, other])
    whole = report(other, manifest=manifest, collected=[NAME, other.id], expected=listed("fail"))
    chosen = report(other, manifest=manifest, expected=listed("fail"), whole=False)
    assert (len(whole.stale), whole.verdict.exit_code) == (1, 5)
    assert (len(chosen.stale), chosen.verdict.exit_code) == (0, 3)


def test_a_listed_case_that_is_blocked_still_fails_as_listed() -> None:
    primitive = result("ns", Outcome.FAIL)
    memory = result("memory", Outcome.FAIL, level=1, rule="atlas").model_copy(
        update={"last": result(rule="atlas").last}
    )
    found = report(primitive, memory, expected=listed("fail", "memory") | listed("fail", "ns"))
    assert found.stale == ()
    assert found.verdict.exit_code == 3


def test_a_written_list_is_read_back_and_keeps_the_reasons_it_had(tmp_path: Path) -> None:
    path = tmp_path / "expected.toml"
    hostile = 'a "quoted" \\ [x]\t\x7f\x1b reason\nand more'
    failed = result("test_a:test_b[x-1]", Outcome.ERROR, reason=hostile)
    write_expected(path, listed("fail"), [DIVERGES, failed, result("passes")])
    back = read_expected(path)
    assert back[NAME] == Expected.model_validate({"reason": "TF32", "class": "divergence@tensor=momentum"})
    assert back[failed.id].failure == "error"
    assert back[failed.id].reason == 'a "quoted" \\ [x]\t\\x7f\\x1b reason'
    assert set(back) == {NAME, failed.id}
    assert report(DIVERGES, failed, expected=back).stale == ()


WRONG = {
    "no TOML": "[",
    "no reason": f'["{NAME}"]\nclass = "fail"',
    "an empty reason": f'["{NAME}"]\nclass = "fail"\nreason = ""',
    "no class": f'["{NAME}"]\nreason = "x"',
    "a class that is none": f'["{NAME}"]\nclass = "pass"\nreason = "x"',
    "a key that is none": f'["{NAME}"]\nclass = "fail"\nreason = "x"\nflaky = true',
    "no table": f'"{NAME}" = "fail"',
}


@pytest.mark.parametrize("case", WRONG)
def test_a_list_that_cannot_be_meant_is_refused_in_one_sentence(tmp_path: Path, case: str) -> None:
    path = tmp_path / "expected.toml"
    path.write_text(WRONG[case])
    with pytest.raises(UserError, match=r"expected\.toml") as refused:
        read_expected(path)
    assert "\n" not in str(refused.value)


PATTERN = "ATL-NS-*/f32"


def test_a_pattern_lists_every_case_so_named_that_was_asked() -> None:
    made = (DIVERGES, result("ATL-NS-002/f32", Outcome.FAIL), result("ATL-NS-003/f32", Outcome.UNSUPPORTED))
    found = report(*made, result("ATL-NSX-001/f32"), expected=listed("fail", PATTERN))
    assert (found.stale, found.verdict.exit_code, found.levels[0].known) == ((), 3, 2)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (result("ATL-NS-002/f32"), "ATL-NS-002/f32 is listed by ATL-NS-*/f32 as fail, but passes"),
        (result("ATL-NS-002/f32", Outcome.ERROR), "ATL-NS-002/f32 is listed by ATL-NS-*/f32 as fail, but is error"),
    ],
)
def test_a_pattern_is_stale_where_one_of_its_cases_is_not_as_listed(made: Result, words: str) -> None:
    assert report(DIVERGES, made, expected=listed("fail", PATTERN)).stale == (words,)


def test_a_pattern_is_stale_that_means_no_case_or_none_that_ran() -> None:
    nothing = report(result(NAME), expected=listed("fail", "ATL-NO-*/f32"))
    assert nothing.stale == ("ATL-NO-*/f32 is listed, but the suite has no such case",)
    absent = report(result(NAME, Outcome.UNSUPPORTED), expected=listed("fail", PATTERN))
    assert absent.stale == ("ATL-NS-*/f32 is listed, but did not run",)


def test_a_case_with_an_entry_of_its_own_is_not_meant_by_a_pattern_and_of_several_the_first_counts() -> None:
    own = listed("error", "ATL-NS-002/f32")
    made = (DIVERGES, result("ATL-NS-002/f32", Outcome.ERROR))
    assert report(*made, expected=listed("fail", PATTERN) | own).stale == ()
    shadowed = report(*made[:1], expected=listed("fail", PATTERN) | listed("error", "ATL-*"))
    assert shadowed.stale == ("ATL-* is listed, but the suite has no such case",)


def test_only_the_star_is_special_in_a_pattern() -> None:
    made = result("test_a:test_b[x.y-1]", Outcome.FAIL)
    assert report(made, expected=listed("fail", "test_a:test_b[x.*]")).stale == ()
    assert report(made, expected=listed("fail", "test_a:test_b[xy*]")).stale != ()


def test_a_written_list_keeps_a_pattern_that_holds_and_spells_out_one_that_does_not(tmp_path: Path) -> None:
    path = tmp_path / "expected.toml"
    other = result("ATL-NS-002/f32", Outcome.FAIL)
    write_expected(path, listed("fail", PATTERN), [DIVERGES, other])
    assert read_expected(path) == listed("fail", PATTERN)
    write_expected(path, listed("fail", PATTERN), [DIVERGES, other, result("ATL-NS-003/f32")])
    back = read_expected(path)
    assert {name: entry.reason for name, entry in back.items()} == {NAME: "TF32", other.id: "TF32"}
