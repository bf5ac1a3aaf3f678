"""Shards side by side: which tokens lie together, when folding is left, and that stretches never see each other."""

from typing import Any

import pytest
import torch
from torch import Tensor

from atlas_ref.memory.chunked import memory_chunked
from atlas_ref.memory.folding import Stretch, run_folded, stretches
from atlas_ref.memory.rules import Gates
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
    leaves = {**call.leaves, **changed}
    keys, values, queries = (leaves[name] for name in ("keys", "values", "queries"))
    gates = Gates(*(leaves[name][:, :, 0] for name in ("retention", "momentum", "step", "window")))
    rule, state = call.hierarchy.rules[0], call.state.memories[0]
    return run_folded(rule, keys, values, queries, gates, (leaves["initial"][0],), state, marks).reads


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
