"""Generic mutants: what is changed, for how long, and that those listed as equivalent exist."""

from functools import partial
from types import FunctionType

import pytest
import torch

from atlas_ref.functional.ltm import ltm_scan
from spec_tests.selfproof.checks import Check, measured, place
from spec_tests.selfproof.mutants import every_mutant, judge, key, reasons
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
    assert judge(mutant, checks, {}).killed_by == "asserting"
    assert judge(mutant, checks[:1], {}).hole
    assert not judge(mutant, checks[:1], {key(mutant): "a reason"}).hole
    assert sample(2.0, 1.0) == 5.0


def test_a_skipped_check_is_no_check() -> None:
    assert measured("skipped", lambda: pytest.skip("not here")) is None


def test_survivors_are_tried_with_no_more_checks_than_is_enough() -> None:
    def tried(seconds: float, reasons: dict[str, str]) -> list[str]:
        names: list[str] = []
        checks = [Check(name, partial(names.append, name), seconds, frozenset()) for name in ("a", "b", "c")]
        judge(named("3.0 -> 4.0"), checks, reasons)
        return names

    assert tried(75.0, {}) == ["a"]
    assert tried(15.0, {}) == ["a", "b"]
    assert tried(15.0, {key(named("3.0 -> 4.0")): "a reason"}) == ["a"]
    assert tried(2.0, {key(named("3.0 -> 4.0")): "a reason"}) == ["a", "b"]


def test_every_survivor_listed_as_equivalent_exists_and_has_a_reason() -> None:
    listed = reasons()
    modules = {name.partition(":")[0] for name in listed}
    existing = {key(mutant) for mutant in every_mutant(modules)}
    assert listed.keys() <= existing, f"no such mutant: {sorted(listed.keys() - existing)}"
    assert all(len(reason.split()) > 3 for reason in listed.values())
