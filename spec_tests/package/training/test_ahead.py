"""Batches that are made ahead are those of the source, in any order, and one that cannot be made says so when asked."""

import threading
from typing import Any, cast

import pytest
import torch

from atlas_ref.data.ahead import Ahead, batches
from atlas_ref.data.batch import Batch


class Counted:
    """A source that notes which steps were asked for, and by which thread."""

    def __init__(self, broken: int = -1) -> None:
        self.asked: list[tuple[int, int]] = []
        self._broken = broken

    def batch(self, step: int) -> Batch:
        self.asked.append((step, threading.get_ident()))
        if step == self._broken:
            raise ValueError(f"step {step}")
        tokens = torch.full((2, 3), step)
        return Batch(tokens, tokens + 1, tokens > 0)


def ahead_of(source: Any) -> Ahead:
    return Ahead(source, pinned=True)


def test_a_batch_made_ahead_is_that_of_its_step_whichever_was_asked_for_before() -> None:
    source = Counted()
    ahead = ahead_of(source)
    found = [int(ahead.batch(step).tokens[0, 0]) for step in (4, 5, 6, 2, 2, 3)]
    ahead.close()
    assert found == [4, 5, 6, 2, 2, 3]
    here = threading.get_ident()
    # Those that follow another are not made by the thread that asks.
    assert [step for step, thread in source.asked if thread == here] == [4, 2, 2]


def test_a_batch_that_cannot_be_made_fails_at_its_own_step() -> None:
    ahead = ahead_of(Counted(broken=1))
    assert int(ahead.batch(0).tokens[0, 0]) == 0
    with pytest.raises(ValueError, match="step 1"):
        ahead.batch(1)
    ahead.close()


@pytest.mark.parametrize("alone", [True, False])
def test_memory_is_pinned_by_a_thread_only_where_no_other_process_takes_part(
    alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned: list[int] = []

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        pinned.append(tensor.numel())
        return tensor

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    with batches(cast(Any, Counted()), torch.device("cuda"), alone=alone) as batch:
        assert int(batch(3).tokens[0, 0]) == 3
    assert bool(pinned) is alone
