"""In a checkout the shapes in signatures are checked wherever the tests of the reference run."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import pytest
import torch
from jaxtyping import Float, TypeCheckError
from torch import Tensor

from atlas_ref.functional.normalize import l2_normalize
from spec_tests.shapes import COMPUTING, form, is_seen, once, unchecked

Rows = Float[Tensor, "row width"]


@once
def paired(rows: Rows, others: Rows, answer: Callable[[], Any] | None = None) -> Rows:
    """Return what `answer` says, whatever the signature promises."""
    return rows + others if answer is None else answer()


@once
@dataclass(frozen=True)
class Pair:
    first: Rows
    second: Rows


@once
def chosen(word: Literal["one", "two"]) -> str:
    return word


class Named(NamedTuple):
    first: object
    second: object


def test_numbers_of_a_type_that_a_signature_does_not_name_are_refused() -> None:
    with pytest.raises(TypeCheckError):
        l2_normalize(torch.zeros(2, 3, dtype=torch.int64), eps=1e-3)


def test_a_wrong_shape_is_refused_at_the_first_call_and_at_every_other() -> None:
    for _ in range(2):
        with pytest.raises(TypeCheckError):
            paired(torch.zeros(2, 5), torch.zeros(3, 5))
    assert paired(torch.zeros(2, 5), torch.zeros(2, 5)).shape == (2, 5)
    with pytest.raises(TypeCheckError):
        paired(torch.zeros(2, 5), torch.zeros(2, 5, dtype=torch.int64))


def test_a_result_of_a_wrong_shape_is_refused_where_the_same_arguments_had_a_right_one() -> None:
    rows = torch.zeros(3, 4)
    results = iter([rows, rows.double(), rows.T, rows])

    def next_result() -> object:
        return next(results)

    assert paired(rows, rows, next_result).dtype == torch.float32
    assert paired(rows, rows, next_result).dtype == torch.float64
    with pytest.raises(TypeCheckError, match="return value"):
        paired(rows, rows, next_result)
    assert paired(rows, rows, next_result) is rows


def test_arguments_are_checked_before_anything_is_computed() -> None:
    with pytest.raises(TypeCheckError):
        paired(torch.zeros(2), torch.zeros(2), lambda: pytest.fail("computed"))
    assert COMPUTING.waiting == []


def test_a_function_is_called_once_at_each_call_whether_its_form_is_new_or_not() -> None:
    rows = torch.zeros(7, 2)
    results = [rows, rows, rows.double(), rows]
    for left in (3, 2, 1, 0):
        paired(rows, rows, results.pop)
        assert len(results) == left


def test_a_dataclass_checks_what_it_is_made_of() -> None:
    assert Pair(torch.zeros(1, 2), torch.zeros(1, 2)).second.shape == (1, 2)
    with pytest.raises(TypeCheckError):
        Pair(torch.zeros(1, 2), torch.zeros(2, 2))


def test_an_error_of_the_function_itself_is_left_as_it_is() -> None:
    def broken() -> object:
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            paired(torch.zeros(9, 1), torch.zeros(9, 1), broken)
    with pytest.raises(TypeCheckError):
        paired(torch.zeros(9, 1), torch.zeros(9, 2))


def test_what_a_function_inside_another_closes_over_is_let_go() -> None:
    def made() -> "weakref.ref[Tensor]":
        held = torch.ones(2, 3)

        @once
        def inner(rows: Rows) -> Rows:
            return rows + held

        assert inner(torch.zeros(2, 3)).sum() == 6
        return weakref.ref(held)

    assert made()() is None


def test_a_text_that_a_signature_does_not_name_is_refused_after_one_that_it_names() -> None:
    assert chosen("one") == "one"
    with pytest.raises(TypeCheckError):
        chosen("three")


@pytest.mark.parametrize(
    "hint",
    [
        Rows,
        Rows | None,
        tuple[Rows, ...],
        dict[str, list[Rows]],
        Callable[[int, Rows], None],
        Literal["one"] | None,
    ],
)
def test_a_shape_or_a_text_is_seen_wherever_an_annotation_holds_it(hint: Any) -> None:
    assert is_seen(hint)


def test_a_signature_without_any_is_left_to_mypy() -> None:
    def plain(rows: Tensor, parts: dict[str, int], other: "Pair | None" = None) -> list[str]:
        return [str(rows), *parts, str(other)]

    assert once(plain) is plain


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.zeros(2, 3), torch.zeros(3, 2)),
        (torch.zeros(2), torch.zeros(2).double()),
        (torch.zeros(2), torch.nn.Parameter(torch.zeros(2))),
        ((torch.zeros(2), None), (torch.zeros(2), torch.zeros(2))),
        ((1, 2), [1, 2]),
        ((1, 2), Named(1, 2)),
        ([1, 2], [1, 2.0]),
        ([(1, 2)], [(1, "2")]),
        ({"a": 1}, {"b": 1}),
        ({"a": 1}, {"a": None}),
        ({1}, {"1"}),
        ("one", "two"),
        (1, True),
        (1, 1.0),
    ],
)
def test_what_an_annotation_can_tell_apart_has_two_forms(one: object, other: object) -> None:
    assert form(one, worded=True) == form(one, worded=True)
    assert form(one, worded=True) != form(other, worded=True)


def test_nothing_is_checked_where_checks_are_off() -> None:
    with unchecked():
        assert paired(torch.zeros(4, 6), torch.zeros(1, 6)).shape == (4, 6)
    with pytest.raises(TypeCheckError):
        paired(torch.zeros(4, 6), torch.zeros(1, 6))
