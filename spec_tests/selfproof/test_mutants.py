"""Generic mutants: what is changed, for how long, and that those listed as equivalent exist."""

from collections.abc import Callable
from functools import partial
from types import FunctionType

import pytest
import torch

from atlas_ref.functional.ltm import ltm_scan
from spec_tests.selfproof import mutants as mutants_module
from spec_tests.selfproof import report
from spec_tests.selfproof.checks import Check, measured, place
from spec_tests.selfproof.mutants import (
    ENOUGH,
    Verdict,
    every_mutant,
    judge,
    judge_all,
    key,
    killer,
    needless,
    reasons,
)
from spec_tests.selfproof.mutate import Mutant, mutants_of


def sample(a: float, b: float) -> float:
    """Return 3 a - b: nothing here changes, nor in the message."""
    if b < 0.0:
        raise ValueError(f"b is {b + 1.0}")
    return 3.0 * a - b


def mutants() -> list[Mutant]:
    assert isinstance(sample, FunctionType)
    return list(mutants_of(sample))


def named(change: str) -> Mutant:
    return next(mutant for mutant in mutants() if mutant.change == change)


def test_operators_and_constants_change_and_neither_messages_nor_conditions_of_errors_do() -> None:
    changes = {mutant.change for mutant in mutants()}
    assert changes == {"3.0 * a - b -> 3.0 * a + b", "3.0 * a -> 3.0 / a", "3.0 -> 4.0", "3.0 -> 0.0"}


def test_a_mutant_is_alive_inside_its_block_only() -> None:
    mutant = named("3.0 * a - b -> 3.0 * a + b")
    with mutant.alive():
        assert sample(2.0, 1.0) == 7.0
    assert sample(2.0, 1.0) == 5.0
    with pytest.raises(ValueError, match=r"b is 0\.0"), mutant.alive():
        sample(1.0, -1.0)
    assert sample(2.0, 1.0) == 5.0


def test_a_mutant_changes_what_other_modules_imported() -> None:
    x, carry, position = torch.ones(1, 2, 1), torch.zeros(1, 1), torch.tensor([[1, 2]])
    sound = ltm_scan(x, carry, position, 0.5)[1]
    found = (mutant for mutant in every_mutant({ltm_scan.__module__}) if mutant.function.__name__ == "ltm_scan")
    mutant = next(mutant for mutant in found if mutant.change == "1.0 - decay -> 1.0 + decay")
    with mutant.alive():
        assert not torch.equal(ltm_scan(x, carry, position, 0.5)[1], sound)
    assert torch.equal(ltm_scan(x, carry, position, 0.5)[1], sound)


def test_the_first_check_that_fails_kills_and_one_that_asserts_nothing_does_not() -> None:
    def idle() -> None:
        sample(2.0, 1.0)

    def asserting() -> None:
        assert sample(2.0, 1.0) == 5.0

    checks = [check for check in (measured("idle", idle), measured("asserting", asserting)) if check is not None]
    mutant = named("3.0 -> 4.0")
    assert all(place(sample.__code__) in check.reaches for check in checks)
    assert killer(mutant, checks, ENOUGH) == "asserting"
    assert killer(mutant, checks[:1], ENOUGH) is None
    assert sample(2.0, 1.0) == 5.0


def test_an_error_that_a_check_waits_for_in_vain_kills_and_what_skips_does_not() -> None:
    """Kills: a failure of `pytest.raises`, which is no Exception, that ends the whole proof."""
    waiting = Check("waiting", lambda: pytest.fail("did not raise"), 1.0, frozenset())
    skipped = Check("skipped", lambda: pytest.skip("not here"), 1.0, frozenset())
    assert killer(named("3.0 -> 4.0"), [skipped, waiting], ENOUGH) == "waiting"
    assert killer(named("3.0 -> 4.0"), [skipped], ENOUGH) is None


def test_a_mutant_that_loops_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    def loops() -> None:
        while sample(2.0, 1.0) != 5.0:
            pass

    monkeypatch.setattr(mutants_module, "PATIENCE", 0.05)
    assert killer(named("3.0 -> 4.0"), [Check("loops", loops, 0.0, frozenset())], ENOUGH) == "loops"


def test_a_hole_is_what_survives_without_a_reason() -> None:
    mutant = named("3.0 -> 4.0")
    assert Verdict(mutant, None, None).hole
    assert not Verdict(mutant, None, "a reason").hole
    assert not Verdict(mutant, "a check", None).hole


def test_a_skipped_check_is_no_check() -> None:
    assert measured("skipped", lambda: pytest.skip("not here")) is None


def test_survivors_are_tried_with_no_more_checks_than_is_enough() -> None:
    def tried(seconds: float, enough: float) -> list[str]:
        names: list[str] = []
        checks = [Check(name, partial(names.append, name), seconds, frozenset()) for name in ("a", "b", "c")]
        killer(named("3.0 -> 4.0"), checks, enough)
        return names

    assert tried(75.0, 40.0) == ["a"]
    assert tried(15.0, 40.0) == ["a", "b"]
    assert tried(15.0, 5.0) == ["a"]
    assert tried(2.0, 5.0) == ["a", "b"]


def test_each_mutant_is_tried_apart_an_argued_one_by_fewer_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: mutants that share a process, in which what one of them left kills all behind it; an argument that costs
    what a hole does."""
    tried: list[str] = []

    def begins(call: Callable[[], str | None]) -> str | None:
        tried.append("apart")
        return call()

    monkeypatch.setattr(mutants_module, "apart", begins)
    monkeypatch.setattr(mutants_module, "reasons", lambda: {key(named("3.0 -> 0.0")): "a reason"})
    reached = frozenset({place(sample.__code__)})
    checks = [Check(name, partial(tried.append, name), 15.0, reached) for name in ("a", "b", "c")]
    verdicts = judge_all([*checks, Check("elsewhere", partial(tried.append, "elsewhere"), 1.0, frozenset())], mutants())
    # The first is tried on the sound reference too, where it imports what it needs.
    each = {"a reason": ["a", "apart", "a"], None: ["a", "apart", "a", "b"]}
    assert tried == [name for verdict in verdicts for name in each[verdict.reason]]
    assert [verdict.reason for verdict in verdicts].count("a reason") == 1


def test_a_mutant_that_ends_its_process_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a crash of one mutant that ends the whole proof, or that counts as survival."""

    def ends(_: Callable[[], str | None]) -> str | None:
        raise EOFError

    monkeypatch.setattr(mutants_module, "apart", ends)
    assert judge(named("3.0 -> 4.0"), [], {}).killed_by == "the end of its process"


def test_an_argument_is_needless_where_a_check_kills_all_that_it_speaks_of() -> None:
    """Kills: an argument that is told to be needless though one of two mutants of its line needs it."""
    argued, other = named("3.0 -> 4.0"), named("3.0 -> 0.0")
    killed, spared = Verdict(argued, "a check", "a reason"), Verdict(argued, None, "a reason")
    assert needless([killed, killed, Verdict(other, "a check", None)]) == [
        f"argued, and yet a check kills it: {key(argued)}"
    ]
    assert needless([killed, spared]) == []


def test_the_part_tells_a_needless_argument_and_is_no_less_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: arguments that a run of the part passes over, or fails for: what kills may be a lack of time."""
    module = "atlas_ref.functional.looking"
    some = next(every_mutant({module}))
    failing = Check("failing", lambda: pytest.fail("always"), 1.0, frozenset({place(some.function.__code__)}))
    monkeypatch.setattr(mutants_module, "apart", lambda call: call())
    monkeypatch.setattr(mutants_module, "reasons", lambda: {key(some): "a reason"})
    monkeypatch.setattr(report, "sound_checks", lambda *_: iter([failing]))
    part = report.prove(("mutants",), module, print)["mutants"]
    assert part.tried == len(list(every_mutant({module})))
    assert f"argued, and yet failing kills it: {key(some)}" in part.notes
    assert not any("yet" in line for line in part.wrong)


def test_every_survivor_listed_as_equivalent_exists_and_has_a_reason() -> None:
    listed = reasons()
    modules = {name.partition(":")[0] for name in listed}
    existing = {key(mutant) for mutant in every_mutant(modules)}
    assert listed.keys() <= existing, f"no such mutant: {sorted(listed.keys() - existing)}"
    assert all(len(reason.split()) > 3 for reason in listed.values())
