"""Batches that are made ahead are those of the source, in any order, and one that cannot be made says so when asked."""

import threading
from typing import Any

import pytest
import torch

from atlas_ref.data.ahead import Ahead
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
    return Ahead(source)


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
