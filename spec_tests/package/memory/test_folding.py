"""Shards side by side: which tokens lie together, when folding is left, and that stretches never see each other."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from atlas_ref.functional.looking import Place, UnseenError, unseen
from atlas_ref.memory.chunked import memory_chunked
from atlas_ref.memory.folding import Stretch, run_folded, stretches
from atlas_ref.memory.recurrent import MemoryOutput
from atlas_ref.memory.rules import Gates, MemoryRule
from spec_tests.package.memory.hierarchy_calls import Call, call_of, drawn, hierarchy

TIME = 20


def marked(*places: tuple[int, int]) -> Tensor:
    """Return marks [2, TIME] at (row, token)."""
    marks = torch.zeros(2, TIME, dtype=torch.bool)
    for row, token in places:
        marks[row, token] = True
    return marks


EVEN = marked(*((row, token) for row in range(2) for token in range(0, TIME, 4)))
RAGGED = marked((0, 0), (0, 5), (0, 9), (0, 16), (1, 3), (1, 7), (1, 13))


def run(call: Call, marks: Tensor, changed: dict[str, Tensor]) -> Tensor:
    """Return the reads of one memory in chunks of 2, some inputs changed."""
    return ended(run_folded, call, marks, changed).reads


def ended(
    form: Callable[..., MemoryOutput], call: Call, marks: Tensor | None, changed: dict[str, Tensor], **named: bool
) -> MemoryOutput:
    """Return all that a form of one memory in chunks of 2 gives, some inputs changed."""
    leaves = {**call.leaves, **changed}
    keys, values, queries = (leaves[name] for name in ("keys", "values", "queries"))
    gates = Gates(*(leaves[name][:, :, 0] for name in ("retention", "momentum", "step", "window")))
    rule, state = call.hierarchy.rules[0], call.state.memories[0]
    return form(rule, keys, values, queries, gates, (leaves["initial"][0],), state, marks, **named)


def test_stretches_lie_between_marks_and_the_first_goes_on_from_before_the_call() -> None:
    whole, last = stretches(RAGGED)
    assert whole == [
        Stretch(0, 0, 5),
        Stretch(0, 5, 9),
        Stretch(0, 9, 16),
        *(Stretch(1, *x) for x in ((0, 3), (3, 7), (7, 13))),
    ]
    assert last == [Stretch(0, 16, 20), Stretch(1, 13, 20)]


@pytest.mark.parametrize("marks", [EVEN, RAGGED], ids=["even", "ragged"])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_one_stretch_holds_no_other_sees_gradients_included(marks: Tensor, bad: float) -> None:
    """Kills: filling that repeats tokens of a neighbour; a state that is multiplied by zero at a mark."""
    call = call_of(hierarchy([2], [0], name="omega"), drawn(1, TIME, seed=3, resets=False))
    spoilt = {}
    for name in ("keys", "values", "queries"):
        changed = call.leaves[name].detach().clone()
        changed[0, 9:13], changed[1, 8:12] = bad, bad
        spoilt[name] = changed.requires_grad_()
    whole, last = stretches(marks)
    touched = torch.zeros(2, TIME, dtype=torch.bool)
    for row, start, stop in (*whole, *last):
        if start < (13, 12)[row] and stop > (9, 8)[row]:
            touched[row, start:stop] = True
    found, clean = run(call, marks, spoilt), run(call, marks, {})
    assert touched.any()
    assert not touched.all()
    assert torch.allclose(found[~touched], clean[~touched], rtol=0.0, atol=1e-14)
    slopes = torch.autograd.grad(found[~touched].sum(), list(spoilt.values()))
    for name, slope in zip(spoilt, slopes, strict=True):
        wanted = torch.autograd.grad(clean[~touched].sum(), call.leaves[name], retain_graph=True)[0]
        assert torch.allclose(slope[~touched], wanted[~touched], rtol=0.0, atol=1e-14)


def test_marks_that_would_be_mostly_filling_are_not_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    """One long stretch and many short ones: as rows they would be ten times the call."""
    shapes: list[tuple[int, int]] = []

    def counted(rule: Any, keys: Tensor, *given: Any, **named: Any) -> Any:
        shapes.append((keys.shape[0], keys.shape[1]))
        return memory_chunked(rule, keys, *given, **named)

    monkeypatch.setattr("atlas_ref.memory.folding.memory_chunked", counted)
    call = call_of(hierarchy([2], [0]), drawn(1, TIME, seed=3, resets=False))
    run(call, marked(*((0, token) for token in range(10, 20))), {})
    assert shapes == [(2, TIME)]


LONG = (0, *range(10, 18))
"""Marks that cut a row into one stretch of ten tokens and, with the next mark, eight of one: twice 40 tokens in all."""


@pytest.mark.parametrize(
    ("places", "folded"), [(range(0, TIME, 4), True), ([1], True), ([0], False), (LONG, True), ((*LONG, 18), False)]
)
def test_marks_are_folded_where_filling_does_not_make_more_than_twice_the_call(
    places: Sequence[int], folded: bool
) -> None:
    """Kills: a call that is run token by token although its stretches fit. Where they are folded there is no loss."""
    marks = marked(*((0, place) for place in places))
    call = call_of(hierarchy([2], [0]), drawn(1, TIME, seed=3, resets=False))
    assert (ended(run_folded, call, marks, {}).omega_loss is None) == folded


def test_a_call_without_marks_is_that_without_folding() -> None:
    """Kills: marks of another shape where none are given."""
    call = call_of(hierarchy([2], [0]), drawn(1, TIME, seed=3, resets=False))
    found, wanted = (ended(form, call, None, {}) for form in (run_folded, memory_chunked))
    assert torch.equal(found.reads, wanted.reads)


@pytest.mark.parametrize("every", [4, 10, 20])
def test_whole_shards_that_nobody_looks_at_are_those_that_are_looked_at(every: int) -> None:
    """Kills: shards that lie in another order; a row that goes on from before the call, or from the row before it; the
    state of another shard; the gates of another; a phase of the call in a shard."""
    call = call_of(hierarchy([2], [0]), drawn(1, TIME, seed=3, resets=False))
    marks = torch.zeros(2, TIME, dtype=torch.bool)
    marks[:, ::every] = True
    seen = ended(run_folded, call, marks, {})
    with unseen(Place(2 * every, 4 * every)):
        whole = ended(partial(run_folded, every=every), call, marks, {})
        # A look is an error of its own here: the marks are not read.
        other = ended(partial(run_folded, every=every), call, ~marks, {})
    assert torch.equal(other.reads, whole.reads)
    torch.testing.assert_close(whole.reads, seen.reads, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(whole.state.to_tensors(), seen.state.to_tensors(), rtol=1e-12, atol=1e-13)
    leaf = call.leaves["keys"]
    slopes = [torch.autograd.grad(x.reads.square().sum(), leaf, retain_graph=True)[0] for x in (seen, whole)]
    torch.testing.assert_close(slopes[1], slopes[0], rtol=1e-10, atol=1e-11)


def test_shards_lie_in_one_order_whether_they_are_looked_at_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: the last shards of all rows behind the others where marks are read: the gradient of M_0 is a sum over
    shards, and in another order it rounds otherwise, so that a run that was stopped is another one."""
    call = call_of(hierarchy([2], [0]), drawn(1, TIME, seed=3, resets=False))
    given: list[Tensor] = []

    def watched(rule: MemoryRule, keys: Tensor, *args: Any, **named: Any) -> MemoryOutput:
        given.append(keys)
        return memory_chunked(rule, keys, *args, **named)

    monkeypatch.setattr("atlas_ref.memory.folding.memory_chunked", watched)
    seen = ended(run_folded, call, EVEN, {})
    with unseen(Place(0, 4)):
        whole = ended(partial(run_folded, every=4), call, EVEN, {})
    assert torch.equal(*given)
    torch.testing.assert_close(seen.state.to_tensors(), whole.state.to_tensors(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("every", "place"), [(4, Place(2, 4)), (6, Place(0, 6)), (4, Place(4, 10)), (0, None), (4, None)]
)
def test_shards_of_which_too_little_is_known_have_to_be_looked_at(every: int, place: Place | None) -> None:
    """Kills: a call that begins inside a shard, or ends inside one, cut into whole ones; a place in other stretches;
    one that nobody knows."""
    call = call_of(hierarchy([2], [0]), drawn(1, TIME, seed=3, resets=False))
    with unseen(place), pytest.raises(UnseenError, match="where shards begin cannot be told"):
        ended(partial(run_folded, every=every), call, EVEN, {})


def test_where_a_place_is_known_and_there_are_no_shards_documents_are_not_looked_for() -> None:
    """Kills: a call of several tokens that is cut into whole shards of no length, or looks for its documents."""
    call = call_of(hierarchy([2], [0]), drawn(1, TIME, seed=3, resets=False))
    marks = marked((0, 0), (1, 0), (0, 4), (1, 4))
    with unseen(Place(0, 4)):
        found, wanted = (ended(form, call, marks, {}) for form in (run_folded, memory_chunked))
    assert torch.equal(found.reads, wanted.reads)


@pytest.mark.parametrize("every", [0, 4])
@pytest.mark.parametrize("place", [None, Place(2, 4)])
def test_a_call_of_one_token_is_made_without_a_look_at_its_marks(every: int, place: Place | None) -> None:
    """Kills: decoding that waits for a GPU to say where shards begin, or that is cut into whole shards."""
    call = call_of(hierarchy([2], [0]), drawn(1, 1, seed=3, resets=False))
    marks = torch.ones(2, 1, dtype=torch.bool)
    seen = run(call, marks, {})
    with unseen(place):
        assert torch.equal(ended(partial(run_folded, every=every), call, marks, {}).reads, seen)


@pytest.mark.parametrize(("writes", "measured"), [(True, True), (True, False), (False, True), (False, False)])
def test_a_loss_is_made_where_the_memory_writes_and_somebody_asks(writes: bool, measured: bool) -> None:
    """Kills: a loss of what is not written; one that decoding pays for and nobody reads."""
    call = call_of(hierarchy([2], [0]), drawn(1, TIME, seed=3, resets=False))
    found = ended(memory_chunked, call, EVEN, {}, writes=writes, measured=measured)
    assert (found.omega_loss is not None) == (writes and measured)
