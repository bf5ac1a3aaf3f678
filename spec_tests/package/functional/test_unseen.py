"""What is computed without a look at any number is what is computed with one, gradients included.

Every test names the fault that was put into the program by hand and that it caught.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from atlas_ref.functional import polynomial
from atlas_ref.functional.attention import sliding_window_attention
from atlas_ref.functional.convolution import short_convolution
from atlas_ref.functional.looking import (
    Place,
    UnseenError,
    known_place,
    may_look,
    must_look,
    surely_at_least,
    unseen,
)
from atlas_ref.functional.sight import surely_finite
from atlas_ref.memory.chunked import memory_chunked
from atlas_ref.memory.layout import make_plan
from atlas_ref.memory.rules import Gates, MemoryRule
from atlas_ref.memory.shards import Shards, qk_project_in_shards
from atlas_ref.memory.state import fresh_memory_state

Tensors = tuple[Tensor, ...]
Function = Callable[..., Tensors]


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def refused(words: str, call: Callable[[], object]) -> bool:
    """Return whether a call says that it would have to look, in these words."""
    try:
        call()
    except UnseenError as error:
        return words in str(error)
    return False


def both_ways(function: Function, *inputs: Tensor) -> None:
    """Assert that outputs and gradients are the same seen and unseen."""
    ways: tuple[AbstractContextManager[None], ...] = (nullcontext(), unseen())
    found = []
    for way in ways:
        with way:
            leaves = [x.clone().requires_grad_(x.is_floating_point() and torch.is_grad_enabled()) for x in inputs]
            outputs = function(*leaves)
            total = torch.stack([(x * drawn(n, *x.shape)).nan_to_num(0.0).sum() for n, x in enumerate(outputs)]).sum()
            gradients: Tensors = ()
            if total.requires_grad:
                gradients = torch.autograd.grad(total, [x for x in leaves if x.requires_grad], materialize_grads=True)
        found.append((*outputs, *gradients))
    assert len(found[0]) == len(found[1])
    for seen, blind in zip(*found, strict=True):
        torch.testing.assert_close(blind, seen, rtol=1e-12, atol=1e-12, equal_nan=True)


def test_eyes_are_shut_within_and_open_again_behind() -> None:
    """Kills: eyes that stay shut, or that an inner context opens; a phase that outlives its context."""
    assert (may_look(), known_place()) == (True, None)
    must_look("anything")
    place = Place(3, 8)
    with unseen(place):
        assert (may_look(), known_place()) == (False, place)
        with unseen():
            assert (may_look(), known_place()) == (False, None)
        assert (may_look(), known_place()) == (False, place)
        assert not surely_finite(torch.zeros(2))
        assert refused("unseen: a colour cannot be told", lambda: must_look("a colour"))
    assert (may_look(), known_place()) == (True, None)
    assert surely_finite(torch.zeros(2))


def test_that_no_position_is_below_a_number_is_seen_where_one_may_look() -> None:
    """Kills: a bound that is reached and counts as missed; the largest position for the smallest; a look unseen."""
    position = torch.tensor([[4], [3]])
    for given in (position, position[1:]):
        assert [surely_at_least(least, given) for least in (2, 3, 4)] == [True, True, False]
    with unseen():
        assert not surely_at_least(2, position)


@pytest.mark.parametrize("time", [1, 5])
def test_a_convolution_unseen_is_that_with_a_look(time: int) -> None:
    """Kills: an age that reaches into the document before; a weight of another age; the wrong tail."""
    position = torch.tensor([[0, 1, 2, 0, 1], [1, 2, 3, 4, 5], [0, 1, 2, 3, 4]])[:, :time]
    tail = drawn(2, 3, 2, 4)
    tail[2] = torch.nan
    both_ways(partial(_convolution, position), drawn(0, 3, time, 4), drawn(1, 4, 3), tail)


def test_a_convolution_of_two_tokens_begins_a_document_at_the_second() -> None:
    """Kills: a document that begins inside a call of two tokens and sees the one before."""
    x, weight, tail = drawn(0, 1, 2, 4), drawn(1, 4, 3), drawn(2, 1, 2, 4)
    whole, _ = short_convolution(x, weight, tail, torch.tensor([[7, 0]]))
    alone, _ = short_convolution(x[:, 1:], weight, torch.zeros_like(tail), torch.tensor([[0]]))
    torch.testing.assert_close(whole[:, 1:], alone)


def _convolution(position: Tensor, x: Tensor, weight: Tensor, tail: Tensor) -> Tensors:
    return short_convolution(x, weight, tail, position)


@pytest.mark.parametrize("persistent", [0, 2])
def test_one_query_unseen_is_that_with_a_look(persistent: int) -> None:
    """Kills: a key one too old or too young; persistent tokens hidden; what is out of sight counted; a key in sight
    that is infinite and passed over."""
    window, shape = 4, (3, 3, 2, 6)
    keys, values = drawn(3, *shape), drawn(4, *shape)
    # Row 0 sees itself alone, row 1 two tokens, row 2 all; row 1 has something bad out of sight, row 2 in sight.
    keys[1, 0], values[2, 2, 1] = torch.nan, torch.inf
    position = torch.tensor([[0], [1], [7]])
    tokens = [drawn(n, 3, 1, 2, 6) for n in (5, 6, 7)]
    always = [drawn(n, persistent, 2, 6) for n in (8, 9)]
    given = (*tokens, *always, keys, values)
    with torch.no_grad():
        both_ways(partial(_attention, position, window), *given)
        alone = _attention(position, window, *given)
    # Where there are gradients all keys are one product under a mask.
    for found, wanted in zip(alone, _attention(position, window, *given), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12, equal_nan=True)
    spoilt = alone[0].isnan().any(-1)
    assert spoilt.tolist() == [[[False, False]], [[False, False]], [[False, True]]]


def _attention(position: Tensor, window: int, *inputs: Tensor) -> Tensors:
    queries, keys, values, always_keys, always_values, past_keys, past_values = inputs
    past = (past_keys, past_values)
    return sliding_window_attention(queries, keys, values, always_keys, always_values, *past, position, window)


@pytest.mark.parametrize(("time", "learned"), [(1, True), (2, False), (2, True)])
def test_attention_unseen_that_is_no_decoding_is_that_with_a_look(time: int, learned: bool) -> None:
    """Kills: several queries taken for one; a gradient of what is out of sight and not finite."""
    window, shape = 4, (3, 3, 2, 6)
    keys, values = drawn(3, *shape), drawn(4, *shape)
    keys[1, 0], values[0, 1] = torch.nan, torch.inf
    position = torch.tensor([[0, 1], [1, 2], [7, 8]])[:, :time]
    tokens = [drawn(n, 3, time, 2, 6) for n in (5, 6, 7)]
    always = [drawn(n, 2, 2, 6) for n in (8, 9)]
    with torch.set_grad_enabled(learned):
        both_ways(partial(_attention, position, window), *tokens, *always, keys, values)


RULE = MemoryRule("matrix", "omega", 3, "carry", "post", 0.5, "mass", 0.9, "quintic", 5)
POSITIONS = [0, 1, 3, 5, 6, 12]
"""Of the rows: at the start of a document, inside a chunk, at the start of one, of a shard, and of a later one."""


@pytest.mark.parametrize("shard", [0, 6])
@pytest.mark.parametrize("marked", [False, True])
def test_a_token_alone_unseen_is_that_with_a_look(shard: int, marked: bool) -> None:
    """Kills: a row that takes an anchor, a start or a share over a border where it should not, or does not where it
    should."""
    rows, window, heads, features, values = len(POSITIONS), 2, 2, 3, 4
    fresh = fresh_memory_state((drawn(0, heads, values, features),), rows, window, features, values)
    state = fresh.map(lambda x: drawn(x.numel(), *x.shape) if x.is_floating_point() else torch.tensor(POSITIONS))
    mark = torch.tensor([[False], [marked], [False], [marked], [False], [False]])
    names = [*state.to_tensors()]

    def call(keys: Tensor, given: Tensor, queries: Tensor, shares: Tensor, gamma: Tensor, *rest: Tensor) -> Tensors:
        (initial, logit), held = rest[:2], dict(zip(names, rest[2:], strict=True))
        retention, momentum, step = shares.sigmoid().unbind()
        gates = Gates(retention, momentum, step, gamma.sigmoid())
        shards = Shards(shard, 1, logit) if shard else None
        before = state.from_tensors(held)
        found = memory_chunked(RULE, keys, given, queries, gates, (initial,), before, mark, shards=shards)
        return (found.reads, *found.state.to_tensors().values())

    tokens = [drawn(n, rows, 1, heads, width) for n, width in ((1, features), (2, values), (3, features))]
    gates = [drawn(4, 3, rows, 1, heads), drawn(5, rows, 1, heads, window)]
    both_ways(call, *tokens, *gates, drawn(0, heads, values, features), drawn(6), *state.to_tensors().values())


@pytest.mark.parametrize(("heads", "window"), [(1, 2), (1, 3), (2, 2)])
def test_a_token_alone_that_begins_a_document_counts_nothing_of_its_window(heads: int, window: int) -> None:
    """Kills: a window of two tokens, or of one head, of which what is out of sight is multiplied by zero."""
    tokens = [drawn(n, 2, 1, heads, width) for n, width in ((1, 3), (2, 4), (3, 3))]
    shares = drawn(4, 3, 2, 1, heads).sigmoid()
    gates = Gates(shares[0], shares[1], shares[2], drawn(5, 2, 1, heads, window).sigmoid())
    initial = (drawn(0, heads, 4, 3),)
    clean = fresh_memory_state(initial, 2, window, 3, 4)
    spoilt = replace(clean, window_keys=clean.window_keys + torch.nan, window_values=clean.window_values + torch.inf)
    wanted, found = (
        memory_chunked(RULE, tokens[0], tokens[1], tokens[2], gates, initial, state, None) for state in (clean, spoilt)
    )
    assert torch.equal(found.reads, wanted.reads)
    assert torch.equal(found.state.weights[0], wanted.state.weights[0])
    assert wanted.reads.isfinite().all()


@pytest.mark.parametrize("phase", [0, 2])
def test_a_call_of_which_the_phase_is_known_is_laid_as_one_that_is_looked_at(phase: int) -> None:
    """Kills: a phase of the rows that is not read; segments that begin elsewhere; rows that begin where none does."""
    position, reset = torch.tensor([6 + phase, 3 + phase]), torch.zeros(2, 7, dtype=torch.bool)
    reset[0, 0] = phase == 0
    seen = make_plan(position, reset, 7, 3)
    with unseen(Place(phase, 3)):
        known = make_plan(position, reset, 7, 3)
    later = torch.zeros_like(reset)
    later[1, 6 - phase] = True
    with unseen(Place(phase, 3)):
        begun = make_plan(position, later, 7, 3)
    assert [row.tolist() for row in begun.resets if isinstance(row, Tensor)][-1] == [False, True]
    assert torch.equal(begun.position, make_plan(position, later, 7, 3).position)
    for one, other in ((seen, known), (seen, make_plan(position, reset, 7, 3, place=Place(phase, 3)))):
        assert (one.count, one.width, one.front, one.opens, one.borders) == (
            other.count,
            other.width,
            other.front,
            other.opens,
            other.borders,
        )
        assert torch.equal(one.position, other.position)
        assert torch.equal(one.starts, other.starts)
        assert torch.equal(one.table, other.table)
    with unseen():
        assert refused("where rows begin documents and chunks", lambda: make_plan(position, reset, 7, 3))
        assert refused("where rows begin shards", lambda: make_plan(position, reset, 7, 3, 6, place=Place(phase, 3)))


def test_the_layout_of_a_token_alone_is_one_segment_of_one_token() -> None:
    """Kills: a segment too many; slots in front; a border that is not looked for where there are shards."""
    position = torch.tensor([5, 5])
    for shard, borders in ((0, ()), (6, (0,))):
        seen = make_plan(position, None, 1, 3, shard)
        with unseen():
            alone = make_plan(position, None, 1, 3, shard)
        for plan in (alone, seen):
            assert (plan.time, plan.count, plan.width, plan.front) == (1, 1, 1, 0)
        assert (alone.shard, alone.borders) == (shard, borders)
        assert torch.equal(alone.position, seen.position)
        assert torch.equal(alone.starts, seen.starts)


def test_a_token_alone_is_laid_unseen_without_a_look_at_any_number() -> None:
    """Kills: a layout that looks where nobody may, as it does where one may."""

    def looks(*_: object) -> None:
        raise AssertionError("the numbers of a tensor are looked at")

    with pytest.MonkeyPatch.context() as patch, unseen():
        for name in ("tolist", "item", "__bool__", "__int__"):
            patch.setattr(Tensor, name, looks)
        plan = make_plan(torch.tensor([6, 6]), None, 1, 3, 6)
    assert [type(rows[0]) for rows in (plan.opens, plan.resets, plan.crossings)] == [Tensor, Tensor, Tensor]


def test_a_projection_alone_in_shards_unseen_is_that_with_a_look() -> None:
    """Kills: a share of the projection that is not inherited at a border, or is inside a shard."""
    rows = len(POSITIONS)
    tokens = [drawn(n, rows, 1, 2, 3) for n in (1, 2)]
    carry = drawn(3, rows, 2, 3, 3)

    def call(queries: Tensor, keys: Tensor, before: Tensor, logit: Tensor) -> Tensors:
        plan = make_plan(torch.tensor(POSITIONS), None, 1, 3, 6)
        return qk_project_in_shards(queries, keys, before, plan, Shards(6, 1, logit))

    both_ways(call, *tokens, carry @ carry.mT, drawn(4))


@pytest.mark.parametrize("degree", [2, 3])
def test_products_by_tables_are_those_by_slices(degree: int) -> None:
    """Kills: an entry paired with monomials that begin with an earlier one; an order that is not lexicographic."""
    x = power = drawn(degree, 2, 4)
    for below in range(2, degree + 1):
        first, rest = polynomial._factors(4, below, x.device)
        by_tables, power = x[..., first] * power[..., rest], polynomial._next_monomials(x, power, below)
        assert torch.equal(by_tables, power)
