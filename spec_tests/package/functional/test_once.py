"""What is made of weights is made once for a text, and anew as soon as a weight is another."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from atlas_ref.functional.once import Store, keeping, once


class Doubled:
    """Makes twice a weight, and counts how often."""

    def __init__(self) -> None:
        self.weight, self.made = nn.Parameter(torch.tensor([1.0, 2.0])), 0

    def make(self) -> Tensor:
        self.made += 1
        return 2.0 * self.weight

    def ask(self, kept: Store) -> Tensor:
        with keeping(kept):
            return once(self.make, self.weight)


def test_in_inference_mode_it_is_made_once_for_each_store() -> None:
    """Kills: nothing kept; a store of the whole process."""
    doubled, first = Doubled(), Store()
    with torch.inference_mode():
        assert doubled.ask(first) is doubled.ask(first)
        doubled.ask({})
    assert doubled.made == 2


def test_two_who_make_never_get_what_the_other_made() -> None:
    doubled, other, kept = Doubled(), Doubled(), Store()
    other.weight = nn.Parameter(torch.tensor([5.0]))
    with torch.inference_mode():
        doubled.ask(kept)
        assert other.ask(kept).tolist() == [10.0]


def stepped(doubled: Doubled) -> None:
    doubled.weight.grad = torch.ones(2)
    torch.optim.SGD([doubled.weight], lr=1.0).step()


def loaded(doubled: Doubled) -> None:
    with torch.no_grad():
        doubled.weight.copy_(torch.tensor([0.0, 1.0]))


def moved(doubled: Doubled) -> None:
    doubled.weight.data = torch.tensor([0.0, 1.0])


def replaced(doubled: Doubled) -> None:
    doubled.weight = nn.Parameter(torch.tensor([0.0, 1.0]))


def test_a_weight_that_lies_where_another_lay_is_seen() -> None:
    """Kills: a place that is taken for the tensor."""
    doubled, kept = Doubled(), Store()
    with torch.inference_mode():
        doubled.ask(kept)
    doubled.weight = nn.Parameter(doubled.weight.data[:1])
    with torch.inference_mode():
        assert doubled.ask(kept).tolist() == [2.0]


@pytest.mark.parametrize("change", [stepped, loaded, moved, replaced])
def test_a_weight_that_has_changed_is_seen(change: Callable[[Doubled], None]) -> None:
    """Kills: a count or a place that is not compared."""
    doubled, kept = Doubled(), Store()
    with torch.inference_mode():
        doubled.ask(kept)
    change(doubled)
    with torch.inference_mode():
        assert doubled.ask(kept).tolist() == [0.0, 2.0]


def test_a_weight_that_counts_no_changes_is_never_relied_on() -> None:
    """One that was made in inference mode. Kills: a count of what has none."""
    kept: Store = {}
    with torch.inference_mode():
        doubled = Doubled()
        doubled.ask(kept)
        doubled.weight.add_(1.0)
        assert doubled.ask(kept).tolist() == [4.0, 6.0]
    assert not kept


def test_a_weight_on_another_device_is_never_relied_on() -> None:
    """Kills: what a replayed graph changed uncounted."""
    doubled, kept = Doubled(), Store()
    doubled.weight = nn.Parameter(torch.empty(2, device="meta"))
    with torch.inference_mode():
        doubled.ask(kept)
    assert not kept


def test_with_a_graph_under_autocast_and_without_a_store_nothing_is_kept() -> None:
    """Kills: a graph that outlives its call; numbers of autocast that are handed on behind it."""
    doubled, kept = Doubled(), Store()
    assert doubled.ask(kept).requires_grad
    with torch.no_grad():
        doubled.ask(kept)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        doubled.ask(kept)
    assert not kept
    with torch.inference_mode():
        assert once(doubled.make, doubled.weight) is not once(doubled.make, doubled.weight)
