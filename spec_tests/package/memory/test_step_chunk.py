"""The chunk that divides the steps of `mass` is that of training, whatever the chunk of a call; any scale of the loss
multiplies them."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from atlas_ref.memory.hierarchical import memory_hierarchical
from spec_tests.package.memory.hierarchy_calls import FORMS, Call, call_of, drawn, hierarchy

HORIZON = 9.0
"""0.9 / (1 - 0.9), of the momentum bound of the rule."""


def called(**changes: Any) -> Call:
    """Return a call of one memory in chunks of 2."""
    return call_of(hierarchy([2], [0], name="omega", **changes), drawn(1, 17, seed=5))


def slower(call: Call, share: float) -> Call:
    """Return the call with a share of its steps."""
    return call._replace(leaves={**call.leaves, "step": call.leaves["step"] * share})


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("every", [1, 2])
def test_another_step_chunk_is_another_divisor_and_nothing_else(form: str, every: int) -> None:
    """Steps by (2 + N h) / (7 + N h), the other way round; kills a step_chunk that moves anchors or windows."""
    apart = called(step_scale="mass", step_chunk=7, boundary="truncate", update_every=every)
    usual = called(step_scale="mass", boundary="truncate", update_every=every)
    share = (2 + every * HORIZON) / (7 + every * HORIZON)
    found, wanted = apart.run(FORMS[form]).reads, slower(usual, share).run(FORMS[form]).reads
    assert torch.allclose(found, wanted, rtol=0.0, atol=1e-13)
    assert not torch.allclose(found, usual.run(FORMS[form]).reads, rtol=0.0, atol=1e-4)


def test_a_step_chunk_means_nothing_to_steps_as_printed() -> None:
    one, other = (called(step_chunk=chunk).run(memory_hierarchical).reads for chunk in (0, 7))
    assert torch.equal(one, other)


def test_without_one_the_chunk_itself_divides() -> None:
    usual = called(step_scale="mass")
    rule = replace(usual.hierarchy.rules[0], step_chunk=2)
    same = usual._replace(hierarchy=replace(usual.hierarchy, rules=(rule,)))
    assert torch.equal(usual.run(memory_hierarchical).reads, same.run(memory_hierarchical).reads)


@pytest.mark.parametrize("scale", [0.0, 0.25, 1.0, 1.5])
def test_a_scale_of_the_loss_is_a_factor_of_every_step(scale: float) -> None:
    """Kills: a scale other than the two of the configuration that is taken for one half, or for its inverse."""
    found, usual = called(loss_scale=scale), called(loss_scale=0.5)
    wanted = slower(usual, 2.0 * scale).run(memory_hierarchical).reads
    torch.testing.assert_close(found.run(memory_hierarchical).reads, wanted, rtol=0.0, atol=1e-13)
